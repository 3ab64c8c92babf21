"""Exception groups, as trio's nurseries raise them, reduced to what a person has to know."""

from __future__ import annotations

from protocol.errors import OperatorError


def first_operator_error(group: BaseExceptionGroup[BaseException]) -> OperatorError | None:
    """What the operator must mend; None if the group holds anything else, which is then a bug to be shown whole."""
    mine, others = group.split(OperatorError)
    if mine is None or others is not None:
        return None
    found: BaseException = mine
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found if isinstance(found, OperatorError) else None
