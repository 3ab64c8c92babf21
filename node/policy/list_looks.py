"""When the source of a list is to be loaded: files and sites when they changed, https addresses by the clock."""

from __future__ import annotations

import random
from dataclasses import replace

from node.policy.list_files import Subscription
from node.policy.list_sources import BlocklistError, SiteStore, file_state, site_state
from protocol.errors import OperatorError

FETCH_EVERY_S = 3600
"""Between two requests for a list over HTTPS; varied by a tenth, so that nodes do not come all at once."""

RETRY_S = 30
"""After a list could not be taken (its server or our disk failed); doubles with each failure in a row, up to a day."""

RETRY_MAX_S = 24 * 3600


class Looks:
    """What was seen of each source since the start. Costs a stat of each file and a question to the store for each
    site; for one thread at a time."""

    def __init__(self, store: SiteStore) -> None:
        self._store = store
        self._seen: dict[str, str] = {}

    def note(self, name: str, state: str) -> None:
        """The source was loaded in this state."""
        self._seen[name] = state

    def forget(self, name: str) -> None:
        self._seen.pop(name, None)

    def due(self, each: Subscription, now_s: int) -> bool:
        """Whether the source is to be loaded now."""
        late = bool(each.next_s) and now_s >= each.next_s
        if each.kind == "https":
            return late
        before = self._seen.get(each.name)
        state = file_state(each.source) if each.kind == "file" else site_state(self._store, each.source)
        self._seen[each.name] = state
        if late or before is None:  # the first look of all comes at the start
            return late or state != each.seen
        if each.kind == "site":
            return state != before
        # A file may be seen half-written: it counts once two looks agree.
        return not each.next_s and state != each.seen and state == before

    def checked(self, each: Subscription, now_s: int) -> Subscription:
        """After a good look at the source."""
        next_s = 0
        if each.kind == "https":
            next_s = now_s + int(FETCH_EVERY_S * random.uniform(0.9, 1.1))  # noqa: S311
        return replace(each, checked_s=now_s, next_s=next_s, failures=0, error=None)

    def failed(self, each: Subscription, error: OperatorError, now_s: int) -> Subscription:
        """After the source could not be used."""
        failed = replace(each, failures=min(each.failures + 1, 20), error=str(error))
        if each.kind == "file" and isinstance(error, BlocklistError):
            # What is wrong is in the file: it is read again when it changes.
            return replace(failed, seen=self._seen.get(each.name, each.seen), next_s=0)
        return replace(failed, next_s=now_s + min(RETRY_S * 2**each.failures, RETRY_MAX_S))
