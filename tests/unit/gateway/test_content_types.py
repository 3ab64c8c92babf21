"""Content types by name and by content."""

from __future__ import annotations

import pytest

from node.gateway.content_types import BYTES, TEXT, by_content, by_name


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("index.html", "text/html; charset=utf-8"),
        ("A.HTML", "text/html; charset=utf-8"),
        ("x.tar.gz", "application/gzip"),
        ("app.mjs", "text/javascript; charset=utf-8"),
        ("a.wasm", "application/wasm"),
        ("a.svg", "image/svg+xml; charset=utf-8"),
        ("site.webmanifest", "application/manifest+json; charset=utf-8"),
        ("f.woff2", "font/woff2"),
        ("i.avif", "image/avif"),
        ("a.avi", "video/x-msvideo"),
        ("a.tsv", "text/tab-separated-values; charset=utf-8"),
        ("LICENSE", None),
        (".gitignore", None),
        (".html", None),
        ("a.", None),
        ("a.unknown-suffix", None),
        ("", None),
    ],
)
def test_by_name(name: str, expected: str | None) -> None:
    assert by_name(name) == expected


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        (b"", TEXT),
        (b"hello\n\ttab\r\n", TEXT),
        ("grüße".encode(), TEXT),
        (b"\x1b[1mcolour", TEXT),
        (b"a\0b", BYTES),
        (b"\x89PNG\r\n\x1a\n", BYTES),
        (b"gr\xfc\xdfe", BYTES),
        (b"\xc3", BYTES),
        (b"a" * 511 + "ü".encode()[:1], TEXT),
        (b"a" * 511 + b"\xff", BYTES),
        (b"<!doctype html><script>alert(1)</script>", TEXT),
    ],
)
def test_by_content(start: bytes, expected: str) -> None:
    assert by_content(start) == expected
