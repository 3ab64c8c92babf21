from __future__ import annotations

import pytest

from protocol.limits import REDIRECTS_MAX_BYTES
from protocol.redirects import BadRedirects, Redirected, Rewritten, parse_redirects

EXAMPLES = b"""
# a comment
/redirect-one /one.html
\t/302-redirect-two   /two.html \t 302\r
/200-index /index.html 200
/posts/:year/:month/:day/:title /articles/:year/:month/:day/:title 301
/splat/* /redirected-splat/:splat 301
/out/* https://example.org:8080/a/:splat?from=site&x=1#top 307
/not-found/* /404.html 404
/app/* /index.html 200"""


def find(rules: bytes, path: str, query: str = "") -> Redirected | Rewritten | None:
    segments = tuple(part for part in path.split("/") if part)
    return parse_redirects(rules).find(segments, path.endswith("/"), query)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/redirect-one", Redirected(301, "/one.html")),
        ("/redirect-one/", None),
        ("/302-redirect-two", Redirected(302, "/two.html")),
        ("/200-index", Rewritten(200, ("index.html",), False)),
        ("/posts/2022/01/02/a b", Redirected(301, "/articles/2022/01/02/a%20b")),
        ("/posts/2022/01/02", None),
        ("/splat/one/ü", Redirected(301, "/redirected-splat/one/%C3%BC")),
        ("/splat/one/", Redirected(301, "/redirected-splat/one/")),
        ("/splat/", Redirected(301, "/redirected-splat/")),
        ("/splat", None),
        ("/not-found/x", Rewritten(404, ("404.html",), False)),
        ("/elsewhere", None),
    ],
)
def test_examples(path: str, expected: Redirected | Rewritten | None) -> None:
    assert find(EXAMPLES, path) == expected


def test_the_first_rule_wins() -> None:
    assert find(b"/a /b\n/a /c\n/* /d", "/a") == Redirected(301, "/b")


def test_the_readers_query_is_passed_on_and_wins() -> None:
    assert find(EXAMPLES, "/redirect-one", "?a=1") == Redirected(301, "/one.html?a=1")
    assert find(EXAMPLES, "/out/b", "?x=2&y") == Redirected(307, "https://example.org:8080/a/b?from=site&x=2&y#top")
    assert find(EXAMPLES, "/out/b", "?") == Redirected(307, "https://example.org:8080/a/b?from=site&x=1#top")


def test_names_are_compared_decoded() -> None:
    assert find(b"/a%20b/%C3%BC /c", "/a b/ü") == Redirected(301, "/c")
    assert find("/ü /ö".encode(), "/ü") == Redirected(301, "/%C3%B6")


def test_a_placeholder_may_occur_twice_in_the_target() -> None:
    assert find(b"/:a /:a/:a/:ab", "/x") == Redirected(301, "/x/x/:ab")


def test_no_reader_can_make_a_host_name() -> None:
    assert find(b"/a/:x/* /:splat/:x", "/a/evil.example/") == Redirected(301, "/evil.example")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("/a", "form"),
        ("/a /b 301 c", "form"),
        ("a /b", "begin with a slash"),
        ("/a b", "must be a path or a URL"),
        ("/a //b.example/", "must be a path or a URL"),
        ("/a ftp://b.example/", "must be a path or a URL"),
        ("/a javascript:alert(1)", "must be a path or a URL"),
        ("/a https://:b.example/", "must be a path or a URL|placeholder in a host"),
        ("/a https://x:b/", "placeholder in a host"),
        ("/a /\\b.example", "backslash"),
        ("/a /b 301!", "not supported"),
        ("/a /b 300", "not supported"),
        ("/a /b 0200", "not supported"),
        ("/a /b ３０１", "not supported"),
        ("/a https://b.example/ 200", "path of this site"),
        ("/a /../b 200", r"\. or \.\."),
        ("/a /%2e%2e/b 200", r"\. or \.\."),
        ("/* /.:splat 200", r"\. or \.\."),
        ("/a /b%2fc 200", "encoded slash"),
        ("/a%zz /b", "percent sign"),
        ("/a /b%z", "percent sign"),
        ("/%ff /b", "not UTF-8"),
        ("/a*/b /c", "asterisk"),
        ("/a* /c", "asterisk"),
        ("/** /c", "asterisk"),
        ("/:a/:a /c", "twice"),
        ("/:splat/* /c", "twice"),
        ("/: /c", "no placeholder"),
        ("/:1 /c", "no placeholder"),
        ("/a?b /c", "no query"),
        ("/a /b\x00", "control"),
        ("/a /b\rX: y", "control"),
    ],
)
def test_bad_lines(line: str, reason: str) -> None:
    with pytest.raises(BadRedirects, match=f"line 2: .*({reason})"):
        parse_redirects(b"/x /y\n" + line.encode())


def test_bad_files() -> None:
    parse_redirects(b"#" * REDIRECTS_MAX_BYTES)
    with pytest.raises(BadRedirects, match="redirects file size cannot exceed 65536 bytes"):
        parse_redirects(b"#" * (REDIRECTS_MAX_BYTES + 1))
    with pytest.raises(BadRedirects, match="UTF-8"):
        parse_redirects(b"\xff")
    assert parse_redirects(b"").rules == ()
