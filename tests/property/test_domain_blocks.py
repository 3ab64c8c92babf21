from __future__ import annotations

import csv
import io
from contextlib import suppress

from hypothesis import example, given
from hypothesis import strategies as st

from protocol.deny_index import DenyIndex, build
from protocol.deny_keys import name_question
from protocol.domain_blocks import (
    COLUMNS,
    DomainBlock,
    denylist_of,
    format_domain_csv,
    is_domain_csv,
    parse_domain_csv,
    plain_comment,
)
from protocol.errors import DecodeError
from protocol.limits import REASON_MAX_CHARS

labels = st.from_regex(r"[a-z0-9_][a-z0-9_-]{0,10}", fullmatch=True)
domains = st.lists(labels, min_size=2, max_size=4).map(".".join)
comments = st.text(st.characters(exclude_categories=["Cs"]), max_size=80)
blocks = st.builds(DomainBlock, domains, comments.map(plain_comment))
# Fields of what fields are made of.
fields = st.lists(
    st.sampled_from(["a", ".", "*", "suspend", "silence", '"', ",", "\n", "\r", "\0", "#", "é", "k51q", "-"]),
    max_size=6,
).map("".join)


@given(st.lists(blocks, max_size=5))
@example([DomainBlock("0.0", plain_comment("0 \x1b 0"))])
def test_blocks_come_back_and_hold_as_rules(given_blocks: list[DomainBlock]) -> None:
    raw = format_domain_csv(given_blocks).encode()
    assert is_domain_csv(raw)
    assert parse_domain_csv(raw) == (given_blocks, [], 0)
    lines = denylist_of(given_blocks)
    built = build(lines, now_s=1)
    assert (built.rule_count, built.errors) == (len(given_blocks), [])
    index = DenyIndex(built.table, lines)
    for domain, _ in given_blocks:
        assert any(index.matches(name_question(domain)))


@given(st.lists(st.lists(fields, max_size=7), max_size=4), st.booleans(), st.binary(max_size=20))
def test_any_csv_gives_blocks_or_errors(rows: list[list[str]], quoted: bool, tail: bytes) -> None:
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL if quoted else csv.QUOTE_MINIMAL).writerows([COLUMNS, *rows])
    raw = text.getvalue().encode()
    found = parse_domain_csv(raw)
    assert len(found.blocks) + found.error_count <= len(rows)
    for domain, comment in found.blocks:
        assert "*" not in domain
        assert len(comment) <= REASON_MAX_CHARS
        assert comment.isprintable()
    with suppress(DecodeError):
        parse_domain_csv(raw + tail)


@given(st.binary(max_size=200))
def test_anything_else_is_refused_by_one_error(raw: bytes) -> None:
    is_domain_csv(raw)
    with suppress(DecodeError):
        parse_domain_csv(raw)
