from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from protocol.denylist import CidPath, PeerTarget, Target, format_target, parse_denylist, parse_line, parse_target
from protocol.errors import DecodeError
from tests.property.protocol_values import mutated, own_cids, sites

segments = st.text(st.characters(exclude_characters="/", exclude_categories=["Cs"]), min_size=1, max_size=8).filter(
    lambda segment: segment not in {".", ".."}
)
paths = st.lists(segments, max_size=4).map("/".join)
targets: st.SearchStrategy[Target] = (
    sites
    | st.builds(CidPath, own_cids.map(lambda cid: cid.multihash), paths, st.booleans())
    | (sites.map(lambda site: site.cid) | own_cids).map(lambda cid: PeerTarget(cid.multihash))
)
# Lines made of what lines are made of.
likely_lines = st.lists(
    st.sampled_from(
        ["/", "ipfs", "ipns", "/ipfs/", "/ipns/", "/p2p/", "!", "#", "*", " ", "%", "%2F", "..", "-", ":", "a", "---"]
    )
    | targets.map(format_target)
    | st.text(max_size=5),
    max_size=8,
).map("".join)


@given(targets)
def test_a_target_comes_back(target: Target) -> None:
    text = format_target(target)
    assert text.isascii()
    assert " " not in text
    assert parse_target(text) == target
    rule = parse_line(text)
    assert rule is not None
    assert rule.target == target


@given(st.text(max_size=60) | likely_lines)
def test_any_line_is_a_rule_or_nothing_or_refused(line: str) -> None:
    try:
        rule = parse_line(line)
    except DecodeError:
        return
    if rule is None:
        assert not line.strip() or line.lstrip().startswith("#")
    else:
        assert parse_target(format_target(rule.target)) == rule.target


@given(
    st.binary(max_size=100)
    | mutated(st.lists(likely_lines, max_size=6).map(lambda found: "\n".join(found).encode("utf-8", "replace")))
)
def test_any_file_is_a_list_or_refused_as_a_whole(raw: bytes) -> None:
    try:
        found = parse_denylist(raw)
    except DecodeError:
        return
    assert len(found.rules) + found.error_count <= raw.count(b"\n") + 1
    assert len(found.errors) == min(found.error_count, 100)
    numbers = [error.line for error in found.errors]
    assert numbers == sorted(set(numbers))
