"""Whatever stands in `_redirects` and `_headers`: a value or their own error, and no header that breaks out."""

from __future__ import annotations

import re
from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from node.gateway.response import Response, encode_head
from node.gateway.routing import decode_segments
from protocol.redirects import BadRedirects, Redirected, Rewritten, parse_redirects
from protocol.site_headers import ALLOWED, parse_site_headers

WORDS = ["/", "/a", "/:x", "/*", ":splat", ":x", "..", "%2e", "%2F", "%", "?q=1", "#f", "https://b", "//", "\\", " "]
WORDS += ["200", "301", "404", "\n", "\r", "\t", "ü", "\0", "Link: ", "Cache-Control: max-age=1", ",", "Set-Cookie: a"]
TEXTS = st.lists(st.sampled_from(WORDS), max_size=25).map("".join)
FILES = st.one_of(st.binary(max_size=200), TEXTS.map(str.encode))
NAMES = st.lists(st.text(st.characters(exclude_characters="/\0"), min_size=1, max_size=5), max_size=4)
SEGMENTS = NAMES.map(lambda names: tuple(name for name in names if name not in (".", "..") and name.isprintable()))


@given(FILES, SEGMENTS, st.booleans())
def test_redirects(raw: bytes, segments: tuple[str, ...], slash: bool) -> None:
    with suppress(BadRedirects):
        found = parse_redirects(raw).find(segments, slash, "?q=2")
        if isinstance(found, Redirected):
            encode_head(Response(found.status, [("Location", found.location)]), keep_alive=True, date="now")
            assert found.location.isascii()
            assert re.match(r"/(?![/\\])|(https?|ipfs|ipns)://[^/:]", found.location, re.IGNORECASE)
        elif isinstance(found, Rewritten):
            assert not {".", "..", ""} & set(found.segments)
            assert not any("/" in name or "\0" in name for name in found.segments)


@given(SEGMENTS, st.booleans())
def test_a_splat_gives_back_the_path(segments: tuple[str, ...], slash: bool) -> None:
    found = parse_redirects(b"/* /:splat 302").find(segments, slash or not segments, "")
    assert isinstance(found, Redirected)
    assert decode_segments(found.location) == segments
    rewritten = parse_redirects(b"/* /:splat 200").find(segments, slash or not segments, "")
    assert isinstance(rewritten, Rewritten)
    assert rewritten.segments == segments


@given(FILES, SEGMENTS, st.booleans())
def test_headers(raw: bytes, segments: tuple[str, ...], slash: bool) -> None:
    headers = parse_site_headers(raw).for_path(segments, slash)
    encode_head(Response(200, headers), keep_alive=True, date="now")
    assert {name for name, _ in headers} <= set(ALLOWED.values())
