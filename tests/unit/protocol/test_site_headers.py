from __future__ import annotations

import pytest

from protocol.limits import SITE_HEADERS_ANSWER_MAX_CHARS, SITE_HEADERS_MAX_BYTES
from protocol.site_headers import ALLOWED, parse_site_headers

FILE = b"""# for everything
/*
  X-Frame-Options: DENY
  x-robots-tag: noindex
  Link: </a.css>; rel=preload
  Link: </b.css>; rel=preload

/docs/:page
\tX-Frame-Options: SAMEORIGIN
/assets/*\r
Cache-Control: public, max-age=31536000, immutable, s-maxage=99999\r
"""


def for_path(raw: bytes, path: str) -> dict[str, str]:
    segments = [part for part in path.split("/") if part]
    return dict(parse_site_headers(raw).for_path(segments, path.endswith("/")))


def test_rules_add_up_and_the_last_wins() -> None:
    everywhere = {"X-Robots-Tag": "noindex", "Link": "</a.css>; rel=preload, </b.css>; rel=preload"}
    assert parse_site_headers(FILE).problems == ()
    assert for_path(FILE, "/") == everywhere | {"X-Frame-Options": "DENY"}
    assert for_path(FILE, "/docs/x") == everywhere | {"X-Frame-Options": "SAMEORIGIN"}
    assert for_path(FILE, "/assets/a.js")["Cache-Control"] == "public, max-age=31536000, immutable, s-maxage=60"


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        ("no-store", "no-store"),
        ("private, max-age=5", "private, max-age=5"),
        ("s-maxage=5", "s-maxage=60"),
        ("max-age=0,max-age=0", "max-age=0, s-maxage=60"),
    ],
)
def test_shared_caches_are_bounded(value: str, sent: str) -> None:
    assert for_path(f"/\n Cache-Control: {value}".encode(), "/") == {"Cache-Control": sent}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("Set-Cookie: a=b", "not one that a site may set"),
        ("Strict-Transport-Security: max-age=1; includeSubDomains", "may set"),
        ("Service-Worker-Allowed: /", "may set"),
        ("Clear-Site-Data: *", "may set"),
        ("Access-Control-Allow-Credentials: true", "may set"),
        ("ETag: x", "may set"),
        ("Vary: x", "may set"),
        ("Content-Length: 1", "may set"),
        ("Content-Encoding: gzip", "may set"),
        ("Location: /", "may set"),
        ("Refresh: 0", "may set"),
        ("Alt-Svc: clear", "may set"),
        ("X-Ipfs-Path: /", "may set"),
        ("Cache-Control: max-age=1, foo", "may set"),
        ("Cache-Control: max-age=-1", "may set"),
        ("Link", "form"),
        ("Link:", "form"),
        ("Link: ü", "ASCII"),
        ("Link: a\rX: y", "ASCII"),
        ("Link: " + "a" * 2049, "more than 2048"),
    ],
)
def test_lines_without_effect(line: str, reason: str) -> None:
    parsed = parse_site_headers(f"/\n {line}\n X-Frame-Options: DENY".encode())
    assert [problem.line for problem in parsed.problems] == [2]
    assert reason in parsed.problems[0].reason
    assert parsed.for_path((), True) == [("X-Frame-Options", "DENY")]


def test_headers_below_a_bad_path_go_nowhere() -> None:
    parsed = parse_site_headers(b"/\n Link: a\n/a*b\n Link: b\n")
    assert [problem.line for problem in parsed.problems] == [3, 4]
    assert parsed.for_path((), True) == [("Link", "a")]


def test_bounds() -> None:
    parsed = parse_site_headers(b"/\n" + b"".join(f" {name}: {'a' * 1500}\n".encode() for name in ALLOWED))
    sent = parsed.for_path((), True)
    assert 1 <= len(sent) <= 2
    assert sum(len(name) + len(value) + 4 for name, value in sent) <= SITE_HEADERS_ANSWER_MAX_CHARS
    for raw in (b"#" * (SITE_HEADERS_MAX_BYTES + 1), b"\xff"):
        assert parse_site_headers(raw).problems[0].line == 0
