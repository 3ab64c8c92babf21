"""Any bytes are a list with rules and problems; what comes out can be stored and read back."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from node.policy.blocklists import FILE_MAX_BYTES
from node.policy.model import CidPath
from node.policy.rules import NEVER_BLOCKED, list_rules, row_of, rule_of
from protocol.cid import RAW, Cid
from protocol.errors import DecodeError
from protocol.limits import DENYLIST_MAX_BYTES
from protocol.site_id import SiteId

SITE = str(SiteId(b"\x01" * 32))
CID = str(Cid.of(RAW, b"content"))

words = st.sampled_from(
    ["/ipns/", "/ipfs/", SITE, CID, "/", "*", "%20", "%", "!", "//", "#", " ", "reason:x", "---", "a.b"]
)
lines = st.lists(words | st.text(max_size=4), max_size=6).map("".join)


@given(st.lists(lines, max_size=12).map("\n".join).map(str.encode) | st.binary(max_size=80))
@example(f"/ipfs/{CID}/100%25/*".encode())
@example(b"/ipns/\n---")
def test_rows_are_rules(raw: bytes) -> None:
    try:
        rows, problems, problem_count = list_rules(raw, list_name="/list", now_s=5)
    except DecodeError:
        # Refused as a whole: only for what stands around the end of a header.
        assert b"---" in raw
        return
    assert len(problems) <= problem_count
    assert all(1 <= line <= raw.count(b"\n") + 1 for line, _ in problems)
    assert len({row.target for row in rows}) == len(rows)
    for row in rows:
        rule = rule_of(row)
        assert row_of(rule) == row
        assert (rule.verdict, rule.ground, rule.list_name, rule.since_s) == ("quarantine", "policy", "/list", 5)
        assert not (isinstance(rule.target, CidPath) and rule.target.multihash in NEVER_BLOCKED)


def test_no_file_that_is_read_is_too_long_for_the_grammar() -> None:
    assert FILE_MAX_BYTES <= DENYLIST_MAX_BYTES
