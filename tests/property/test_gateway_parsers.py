"""Whatever readers send: the gateway's parsers give a value or their own error, however the bytes were cut."""

from __future__ import annotations

from contextlib import suppress
from urllib.parse import quote

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import example, given
from hypothesis import strategies as st

from node.gateway.backend import decode_answer, decode_request
from node.gateway.content_types import by_content, by_name
from node.gateway.http1 import BadRequest, HeadReader
from node.gateway.limits import Limits
from node.gateway.ranges import ByteRange, Unsatisfiable, is_other, is_unchanged, parse_ranges
from node.gateway.routing import SitePath, decode_segments, route
from protocol.errors import PeerError
from protocol.site_id import SiteId

SITE = SiteId.of(Ed25519PrivateKey.from_private_bytes(bytes(32)))
LIMITS = Limits(request_line_max_bytes=64, head_max_bytes=256, headers_max=8)
PIECES = [
    b"GET / HTTP/1.1",
    b"\r\n",
    b"\n",
    b"\r",
    b"Host: a",
    b"X: y",
    b":",
    b" ",
    b"\0",
    b"Content-Length: 1",
    b"a" * 40,
]
RAW = st.one_of(st.binary(max_size=200), st.lists(st.sampled_from(PIECES), max_size=30).map(b"".join))


def outcome(raw: bytes, cuts: list[int]) -> list[object]:
    reader, last = HeadReader(LIMITS), 0
    results: list[object] = []
    for cut in [*sorted(cuts), len(raw)]:
        reader.feed(raw[last:cut])
        last = max(last, cut)
        try:
            while (request := reader.next_request()) is not None:
                results.append(request)
        except BadRequest as error:
            return [*results, error.status]
    return results


@given(RAW, st.lists(st.integers(0, 200), max_size=5))
@example(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 3, [1, 17, 40])
def test_heads_do_not_depend_on_how_they_are_cut(raw: bytes, cuts: list[int]) -> None:
    whole, cut = outcome(raw, []), outcome(raw, [min(at, len(raw)) for at in cuts])
    # Where several things are wrong, which one is seen first may depend on the cut; that something is may not.
    assert [result for result in whole if not isinstance(result, int)] == [r for r in cut if not isinstance(r, int)]
    if whole and isinstance(whole[-1], int):
        assert isinstance(cut[-1], int)


@given(
    st.one_of(st.none(), st.text(max_size=80)), st.text(st.characters(max_codepoint=126, min_codepoint=33), max_size=80)
)
@example(f"{SITE}.ipns.localhost", "/a/%2e%2e/b")
@example("localhost", f"/ipns/{SITE}/%ff")
def test_routes_are_a_value_or_bad_request(host: str | None, target: str) -> None:
    try:
        found = route(host, "/" + target, ("localhost",))
    except BadRequest:
        return
    if isinstance(found, SitePath):
        assert not any(name in ("", ".", "..") or "/" in name or "\0" in name for name in found.segments)


NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20).filter(
    lambda name: name not in (".", "..") and "/" not in name and "\0" not in name
)


@given(st.lists(NAMES, max_size=5), st.booleans())
def test_every_name_that_a_tree_can_have_can_be_asked_for(names: list[str], slash: bool) -> None:
    path = "/" + "/".join(quote(name, safe="") for name in names) + ("/" if slash else "")
    assert decode_segments(path) == tuple(names)
    found = route(f"{SITE}.ipns.localhost", path, ("localhost",))
    assert isinstance(found, SitePath)
    assert decode_segments(found.url_path) == tuple(names)
    assert not found.url_path.startswith("//")
    assert found.url_path.isascii()


@given(
    st.text(max_size=60) | st.from_regex(r"bytes=([0-9]{0,3}-[0-9]{0,3},){0,20}[0-9]{0,3}-", fullmatch=True),
    st.integers(0, 500),
)
def test_ranges_lie_within_the_file_and_apart(value: str, size: int) -> None:
    try:
        parts = parse_ranges(value, size)
    except Unsatisfiable:
        return
    assert all(isinstance(part, ByteRange) and 0 <= part.start < part.stop <= size for part in parts)
    assert sum(part.stop - part.start for part in parts) <= size


@given(st.text(max_size=60))
def test_conditions_never_fail(value: str) -> None:
    assert is_unchanged(value, '"x"') in (True, False)
    assert is_other(value, '"x"') in (True, False)


@given(st.text(max_size=30), st.binary(max_size=600))
def test_content_types_can_stand_in_a_header(name: str, start: bytes) -> None:
    for kind in (by_name(name), by_content(start)):
        assert kind is None or (kind.isascii() and kind.isprintable() and "/" in kind)


@given(st.binary(max_size=200))
def test_backend_messages_are_a_value_or_an_error_of_the_peer(raw: bytes) -> None:
    for decode in (decode_request, decode_answer):
        with suppress(PeerError):
            decode(raw)
