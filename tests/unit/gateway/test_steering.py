"""Files by which a site steers its answers: `_redirects`, `_headers`, precompressed forms."""

from __future__ import annotations

import pytest

from protocol.limits import REDIRECTS_MAX_BYTES
from tests.unit.gateway.nodes import Node, new_key
from tests.unit.gateway.sites import Symlink, Tree

RULES = b"""/old /new.html?from=old
/see/:name /docs/:name 302
/app/* /index.html 200
/lost/* /lost.html 404
/gone/* /gone/index.html 410
/law /docs 451
/nowhere /none.html 200
/new.html /never 302
/hidden /secret/plan.html 200
"""
SITE: Tree = {
    "_redirects": RULES,
    "index.html": b"<h1>app</h1>",
    "new.html": b"<h1>new</h1>",
    "lost.html": b"<h1>lost</h1>",
    "gone": {"index.html": b"<h1>gone</h1>"},
    "docs": {"a.txt": b"a", "index.html": b"docs"},
    "secret": {"plan.html": b"plan"},
    "404.html": b"<h1>own 404</h1>",
}


@pytest.mark.parametrize(
    ("path", "status", "location"),
    [
        ("/old", 301, "/new.html?from=old"),
        ("/old?from=me&x=%20", 301, "/new.html?from=me&x=%20"),
        ("/see/a.txt", 302, "/docs/a.txt"),
        ("/see/%C3%BC%20x", 302, "/docs/%C3%BC%20x"),
    ],
)
async def test_redirects(node: Node, path: str, status: int, location: str) -> None:
    site, _ = node.publish(new_key(), SITE)
    answer = await node.get(site, path)
    assert (answer.status, answer.headers["location"], answer.body) == (status, location, b"")
    assert answer.headers["x-ipfs-path"].startswith(f"/ipns/{site}/")


@pytest.mark.parametrize(
    ("path", "status", "body"),
    [
        ("/app/deep/down?x=1", 200, b"<h1>app</h1>"),
        ("/lost/x/y/", 404, b"<h1>lost</h1>"),
        ("/gone/away", 410, b"<h1>gone</h1>"),
        ("/law", 451, b"docs"),
        ("/nowhere", 404, b"<h1>own 404</h1>"),
        ("/elsewhere", 404, b"<h1>own 404</h1>"),
        ("/new.html", 200, b"<h1>new</h1>"),
    ],
)
async def test_rewrites(node: Node, path: str, status: int, body: bytes) -> None:
    site, _ = node.publish(new_key(), SITE)
    answer = await node.get(site, path)
    assert (answer.status, answer.body) == (status, body)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    head = await node.ask("HEAD", node.origin(site), path)
    assert (head.status, head.headers["content-length"]) == (status, str(len(body)))


async def test_a_rewritten_page_can_be_asked_for_again(node: Node) -> None:
    site, built = node.publish(new_key(), SITE)
    first = await node.get(site, "/app/x")
    assert first.headers["etag"] == f'"{built.cids["index.html"]}"'
    assert (await node.get(site, "/app/x", If_None_Match=first.headers["etag"])).status == 304
    assert (await node.get(site, "/app/x", Range="bytes=1-2")).body == b"h1"


async def test_no_rules_where_sites_share_an_origin(node: Node) -> None:
    site, _ = node.publish(new_key(), SITE)
    answer = await node.ask("GET", f"127.0.0.1:{node.port}", f"/ipns/{site}/old")
    assert (answer.status, answer.body) == (404, b"<h1>own 404</h1>")


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        (b"/a /b 301!", "could not parse _redirects: line 1: status"),
        (b"#" * (REDIRECTS_MAX_BYTES + 1), "redirects file size cannot exceed"),
    ],
)
async def test_bad_rules_are_told(node: Node, rules: bytes, said: str) -> None:
    site, _ = node.publish(new_key(), SITE | {"_redirects": rules})
    answer = await node.get(site, "/elsewhere")
    assert answer.status == 500
    assert said in answer.text
    assert (await node.get(site, "/new.html")).status == 200


async def test_long_rules_work(node: Node) -> None:
    rules = b"".join(b"/from/%d /to/%d\n" % (number, number) for number in range(3000))
    site, _ = node.publish(new_key(), {"_redirects": rules, "a": b""})
    assert (await node.get(site, "/from/2999")).headers["location"] == "/to/2999"


async def test_a_folder_of_that_name_is_no_rules(node: Node) -> None:
    site, _ = node.publish(new_key(), SITE | {"_redirects": {"x": b""}})
    assert (await node.get(site, "/old")).status == 404


async def test_policy_is_asked_for_the_target_and_for_the_rules(node: Node) -> None:
    site, built = node.publish(new_key(), SITE)
    node.block(built.cids["secret/plan.html"])
    assert (await node.get(site, "/hidden")).status == 410
    node.block(built.cids["_redirects"])
    assert (await node.get(site, "/old")).status == 404


HEADERS = b"""/*
  X-Frame-Options: DENY
  Content-Security-Policy: default-src 'self'
  Set-Cookie: a=b
/assets/*
  Cache-Control: max-age=31536000, immutable
"""


async def test_headers(node: Node) -> None:
    tree: Tree = {"_headers": HEADERS, "index.html": b"x", "assets": {"a.js": b"1"}, "404.html": b"lost"}
    site, _ = node.publish(new_key(), tree)
    page = await node.get(site, "/")
    assert page.headers["x-frame-options"] == "DENY"
    assert page.headers["content-security-policy"] == "default-src 'self'"
    assert page.headers["cache-control"] == "public, max-age=60, must-revalidate"
    assert "set-cookie" not in page.headers
    asset = await node.get(site, "/assets/a.js")
    assert asset.headers["cache-control"] == "max-age=31536000, immutable, s-maxage=60"
    again = await node.get(site, "/assets/a.js", If_None_Match=asset.headers["etag"])
    assert (again.status, again.headers["cache-control"]) == (304, asset.headers["cache-control"])
    lost = await node.get(site, "/assets/none.js")
    assert (lost.headers["x-frame-options"], lost.headers["cache-control"]) == ("DENY", "no-cache")


async def test_headers_do_not_loosen_the_sandbox_or_the_nodes_pages(node: Node) -> None:
    site, _ = node.publish(new_key(), {"_headers": HEADERS, "index.html": b"x", "list": {"a": b""}})
    shared = await node.ask("GET", f"127.0.0.1:{node.port}", f"/ipns/{site}/")
    assert shared.headers["content-security-policy"].startswith("sandbox")
    assert "x-frame-options" not in shared.headers
    node.block(site)
    assert "x-frame-options" not in (await node.get(site, "/")).headers


# Long names make a folder of several shards.
MANY: Tree = {**{f"{n:0200}.js": b"3;" for n in range(1300)}, f"{7:0200}.js.gz": b"in a shard"}
FORMS: Tree = {
    "index.html": b"plain" * 10,
    "index.html.br": b"brotli",
    "index.html.gz": b"gzipped",
    "only.css": b"a{}",
    "doc": {"x.js": b"1;", "x.js.zst": b"zstd"},
    "linked": {"y.js": b"2;", "y.js.br": Symlink("../packed/y.br"), "y.js.gz": Symlink("nowhere")},
    "packed": {"y.br": b"packed elsewhere"},
    "short": Symlink("linked"),
    "many": MANY,
}


@pytest.mark.parametrize(
    ("path", "accepts", "coding", "body"),
    [
        ("/", "gzip, deflate, br, zstd", "br", b"brotli"),
        ("/index.html", "gzip", "gzip", b"gzipped"),
        ("/index.html", "br;q=0.5, gzip;q=0.9", "gzip", b"gzipped"),
        ("/index.html", "br;q=0, *", "gzip", b"gzipped"),
        ("/index.html", "zstd", None, b"plain" * 10),
        ("/index.html", "identity", None, b"plain" * 10),
        ("/index.html", "br;q=nonsense", None, b"plain" * 10),
        ("/doc/x.js", "ZSTD", "zstd", b"zstd"),
        ("/linked/y.js", "br", "br", b"packed elsewhere"),
        ("/short/y.js", "br", "br", b"packed elsewhere"),
        ("/linked/y.js", "gzip", None, b"2;"),
        (f"/many/{7:0200}.js", "gzip", "gzip", b"in a shard"),
    ],
)
async def test_precompressed_forms(node: Node, path: str, accepts: str, coding: str | None, body: bytes) -> None:
    site, _ = node.publish(new_key(), FORMS)
    answer = await node.get(site, path, Accept_Encoding=accepts)
    assert (answer.status, answer.headers.get("content-encoding"), answer.body) == (200, coding, body)
    assert answer.headers["vary"] == "Accept, Accept-Encoding"
    assert answer.headers["content-type"] in ("text/html; charset=utf-8", "text/javascript; charset=utf-8")


async def test_each_form_has_its_own_etag_and_ranges(node: Node) -> None:
    site, built = node.publish(new_key(), FORMS)
    plain = await node.get(site, "/index.html")
    form = await node.get(site, "/index.html", Accept_Encoding="br")
    assert plain.headers["etag"] == f'"{built.cids["index.html"]}"'
    assert form.headers["etag"] == f'"{built.cids["index.html.br"]}"'
    assert form.headers["x-ipfs-roots"].endswith(str(built.cids["index.html.br"]))
    same = await node.get(site, "/index.html", Accept_Encoding="br", If_None_Match=form.headers["etag"])
    assert (same.status, same.headers["vary"]) == (304, "Accept, Accept-Encoding")
    other = await node.get(site, "/index.html", Accept_Encoding="br", If_None_Match=plain.headers["etag"])
    assert other.status == 200
    part = await node.get(site, "/index.html", Accept_Encoding="br", Range="bytes=1-3")
    assert (part.status, part.body, part.headers["content-range"]) == (206, b"rot", "bytes 1-3/6")
    whole = await node.get(site, "/index.html", Accept_Encoding="br", Range="bytes=1-3", If_Range=plain.headers["etag"])
    assert (whole.status, whole.body) == (200, b"brotli")


async def test_files_without_forms_do_not_vary(node: Node) -> None:
    site, _ = node.publish(new_key(), FORMS)
    answer = await node.get(site, "/only.css", Accept_Encoding="br")
    assert (answer.headers["vary"], "content-encoding" in answer.headers) == ("Accept", False)
    itself = await node.get(site, "/index.html.gz", Accept_Encoding="gzip")
    assert (itself.body, "content-encoding" in itself.headers) == (b"gzipped", False)


async def test_policy_on_a_file_holds_for_its_forms(node: Node) -> None:
    site, built = node.publish(new_key(), FORMS)
    target = node.block(built.cids["index.html.br"])
    answer = await node.get(site, "/index.html", Accept_Encoding="br, gzip")
    assert answer.headers["content-encoding"] == "gzip"
    node.store.remove_rule(target)
    node.block(built.cids["index.html"])
    assert (await node.get(site, "/index.html", Accept_Encoding="br")).status == 410
