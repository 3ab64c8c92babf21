"""Reading sites over real sockets: files, folders, headers, ranges, conditions."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.unit.gateway.nodes import Node, new_key, running_node
from tests.unit.gateway.sites import Symlink, Tree

BIG = bytes(range(256)) * 2000
TREE: Tree = {
    "index.html": b"<h1>home</h1>",
    "style.css": b"a{}",
    "LICENSE": b"free\n",
    "blob": b"\0\1\2",
    "empty": b"",
    "big.bin": BIG,
    "docs": {
        "index.html": b"<h1>docs</h1>",
        "a b": {"\u00fcn\u00ef c\u00f6de+&?#%.txt": b"names"},
        "q?": b"question",
    },
    "plain": {"x.txt": b"x", "<script>.html": b"y", "javascript:alert(1)": b"z", "sub": {"deep.txt": b"d"}},
    "link.css": Symlink("style.css"),
    "linked": Symlink("docs"),
    "plain2": {"up": Symlink("../plain/x.txt"), "out": Symlink("../../etc/passwd"), "abs": Symlink("/etc/passwd")},
    "loop": Symlink("loop"),
    "index.html.d": {"index.html": {"x": b"folder named like an index"}},
}


async def test_files_and_folders(node: Node) -> None:
    site, built = node.publish(new_key(), TREE)
    for target, body, kind in [
        ("/", b"<h1>home</h1>", "text/html; charset=utf-8"),
        ("/index.html", b"<h1>home</h1>", "text/html; charset=utf-8"),
        ("/style.css", b"a{}", "text/css; charset=utf-8"),
        ("/style.css?v=1", b"a{}", "text/css; charset=utf-8"),
        ("//style.css", b"a{}", "text/css; charset=utf-8"),
        ("/LICENSE", b"free\n", "text/plain; charset=utf-8"),
        ("/blob", b"\0\1\2", "application/octet-stream"),
        ("/empty", b"", "text/plain; charset=utf-8"),
        ("/docs/", b"<h1>docs</h1>", "text/html; charset=utf-8"),
        ("/docs/a%20b/%C3%BCn%C3%AF%20c%C3%B6de%2B%26%3F%23%25.txt", b"names", "text/plain; charset=utf-8"),
        ("/docs/q%3F", b"question", "text/plain; charset=utf-8"),
        ("/link.css", b"a{}", "text/css; charset=utf-8"),
        ("/linked/", b"<h1>docs</h1>", "text/html; charset=utf-8"),
        ("/linked/q%3F", b"question", "text/plain; charset=utf-8"),
        ("/plain2/up", b"x", "text/plain; charset=utf-8"),
    ]:
        answer = await node.get(site, target)
        assert (answer.status, answer.body, answer.headers["content-type"]) == (200, body, kind), target
        assert answer.headers["x-content-type-options"] == "nosniff"
    answer = await node.get(site, "/big.bin")
    assert answer.body == BIG
    assert answer.headers["etag"] == f'"{built.cids["big.bin"]}"'
    assert answer.headers["accept-ranges"] == "bytes"
    assert "content-security-policy" not in answer.headers


async def test_every_name_of_a_large_folder_can_be_read(node: Node) -> None:
    """Over 256 KiB of links: a HAMT."""
    names: Tree = {f"file number {n} with a name long enough to fill blocks.txt": b"%d" % n for n in range(4000)}
    site, built = node.publish(new_key(), {"many": names, "index.html": b""})
    assert len(built.blocks) > len(names) + 20
    client = await node.connect()
    with client.sock:
        for n, name in list(enumerate(names))[::97]:
            answer = await client.ask("/many/" + name.replace(" ", "%20"), node.origin(site))
            assert answer.body == b"%d" % n
            roots = answer.headers["x-ipfs-roots"].split(",")
            assert roots == [str(built.cids[path]) for path in ("", "many", f"many/{name}")]
        assert (await client.ask("/many/none", node.origin(site))).status == 404
        listing = await client.ask("/many/", node.origin(site))
        assert listing.status == 200
        assert listing.text.count("<tr>") == 1000 + 1
        assert "There is more" in listing.text


async def test_a_file_of_many_levels(node: Node) -> None:
    content = bytes(range(251)) * 41
    site, built = node.publish(new_key(), {"deep.bin": content}, chunk_bytes=7)
    assert len({cid for cid in built.blocks if cid.codec != 0x55}) > 3
    assert (await node.get(site, "/deep.bin")).body == content
    for start, stop in [(0, 1), (6, 8), (7167, 7170), (100, len(content) - 1)]:
        answer = await node.get(site, "/deep.bin", Range=f"bytes={start}-{stop - 1}")
        assert (answer.status, answer.body) == (206, content[start:stop])


async def test_slash_redirects_keep_encoding_and_query(node: Node) -> None:
    site, _ = node.publish(new_key(), TREE)
    for target, location in [
        ("/docs", "/docs/"),
        ("/docs?a=%20b&c", "/docs/?a=%20b&c"),
        ("/docs/a%20b", "/docs/a%20b/"),
        ("//docs", "/docs/"),
        ("/linked", "/linked/"),
    ]:
        answer = await node.get(site, target)
        assert (answer.status, answer.headers["location"], answer.body) == (301, location, b"")
    host = f"127.0.0.1:{node.port}"
    answer = await node.ask("GET", host, f"/ipns/{site}/docs?q")
    assert (answer.status, answer.headers["location"]) == (301, f"/ipns/{site}/docs/?q")


@pytest.mark.parametrize(
    "target",
    [
        "/none",
        "/docs/none",
        "/style.css/",
        "/style.css/x",
        "/plain2/out",
        "/plain2/abs",
        "/loop",
        "/DOCS/",
        "/docs/q",
        "/\\docs",
    ],
)
async def test_what_is_not_there(node: Node, target: str) -> None:
    site, _ = node.publish(new_key(), TREE)
    answer = await node.get(site, target)
    assert answer.status == 404
    assert "test &lt;node&gt;" in answer.text
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "target",
    [
        "/../style.css",
        "/docs/../style.css",
        "/%2e%2e/style.css",
        "/docs%2f..%2fstyle.css",
        "/%00",
        "/a%00.css",
        "/%ff",
        "/%",
    ],
)
async def test_paths_that_are_none(node: Node, target: str) -> None:
    site, _ = node.publish(new_key(), TREE)
    answer = await node.get(site, target)
    assert answer.status == 400
    assert answer.headers["connection"] == "close"


async def test_a_folder_without_index_is_listed_and_escaped(node: Node) -> None:
    site, _ = node.publish(new_key(), TREE)
    answer = await node.get(site, "/plain/")
    assert answer.status == 200
    assert "<script>" not in answer.text
    found = re.findall(r'<tr><td><a href="([^"]*)"', answer.text)
    assert found == [
        "/plain/..",
        "/plain/%3Cscript%3E.html",
        "/plain/javascript%3Aalert%281%29",
        "/plain/sub",
        "/plain/x.txt",
    ]
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert (await node.get(site, "/index.html.d/")).text.count("<tr>") == 2
    again = await node.get(site, "/plain/", If_None_Match=answer.headers["etag"])
    assert (again.status, again.body) == (304, b"")


async def test_head_is_get_without_the_body(node: Node) -> None:
    site, _ = node.publish(new_key(), TREE)
    for target in ("/", "/big.bin", "/LICENSE", "/none", "/docs", "/plain/", "/empty"):
        got = await node.get(site, target)
        head = await node.ask("HEAD", node.origin(site), target)
        assert (head.status, head.body) == (got.status, b"")
        assert {**head.headers, "date": ""} == {**got.headers, "date": ""}


async def test_ranges(node: Node) -> None:
    site, _ = node.publish(new_key(), TREE)
    size = len(BIG)
    for value, start, stop in [
        ("bytes=0-0", 0, 1),
        ("bytes=1000-260000", 1000, 260001),
        ("bytes=511999-", 511999, size),
        ("bytes=-1", size - 1, size),
        ("bytes=-999999999", 0, size),
        ("bytes=5-999999999", 5, size),
    ]:
        answer = await node.get(site, "/big.bin", Range=value)
        assert (answer.status, answer.body) == (206, BIG[start:stop])
        assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/{size}"
        assert answer.headers["content-length"] == str(stop - start)
    for value in ("bytes=512000-", "bytes=-0", "bytes=9999999999999999999-"):
        answer = await node.get(site, "/big.bin", Range=value)
        assert (answer.status, answer.body) == (416, b"")
        assert answer.headers["content-range"] == f"bytes */{size}"
    for value in ("bytes=0-1,1-6", "lines=1-2", "bytes=2-1", "x"):
        assert (await node.get(site, "/big.bin", Range=value)).status == 200
    head = await node.ask("HEAD", node.origin(site), "/big.bin", Range="bytes=0-1")
    assert (head.status, head.headers["content-length"]) == (200, str(size))


async def test_several_ranges(node: Node) -> None:
    site, built = node.publish(new_key(), TREE)
    size = len(BIG)
    wanted = [(5000, 260001), (0, 2), (size - 2, size)]
    for host, target, kind in (
        (node.origin(site), "/big.bin", "application/octet-stream"),
        (f"127.0.0.1:{node.port}", f"/ipns/{site}/big.bin", "application/octet-stream"),
    ):
        answer = await node.ask("GET", host, target, Range="bytes=5000-260000, 0-1,-2")
        assert (answer.status, "content-range" in answer.headers) == (206, False)
        assert answer.headers["etag"] == f'"{built.cids["big.bin"]}"'
        form, _, boundary = answer.headers["content-type"].partition("; boundary=")
        assert (form, int(answer.headers["content-length"])) == ("multipart/byteranges", len(answer.body))
        expected = b"".join(
            f"--{boundary}\r\nContent-Type: {kind}\r\nContent-Range: bytes {a}-{b - 1}/{size}\r\n\r\n".encode()
            + BIG[a:b]
            + b"\r\n"
            for a, b in wanted
        )
        assert answer.body == expected + f"--{boundary}--\r\n".encode()


async def test_several_ranges_of_a_block(node: Node) -> None:
    _, built = node.publish(new_key(), {"a.txt": b"0123456789"})
    target = f"/ipfs/{built.cids['a.txt']}?format=raw"
    answer = await node.ask("GET", f"127.0.0.1:{node.port}", target, Range="bytes=0-0,8-9")
    assert answer.status == 206
    assert (answer.body.count(b"Content-Range: bytes "), b"\r\n\r\n89\r\n--" in answer.body) == (2, True)


async def test_conditions_and_releases(node: Node) -> None:
    key = new_key()
    site, _ = node.publish(key, TREE)
    etag = (await node.get(site, "/style.css")).headers["etag"]
    changed = (await node.get(site, "/big.bin")).headers["etag"]
    node.publish(key, {**TREE, "big.bin": b"new"}, seq=2)
    same = await node.get(site, "/style.css", If_None_Match=f'"other", W/{etag}')
    assert (same.status, same.body) == (304, b"")
    assert same.headers["etag"] == etag
    assert "content-length" not in same.headers
    assert same.headers["cache-control"] == "public, max-age=60, must-revalidate"
    assert (await node.get(site, "/big.bin", If_None_Match=changed)).body == b"new"
    assert (await node.get(site, "/big.bin", If_Range=changed, Range="bytes=0-0")).status == 200
    fresh = (await node.get(site, "/big.bin")).headers["etag"]
    assert (await node.get(site, "/big.bin", If_Range=fresh, Range="bytes=0-0")).body == b"n"
    assert (await node.get(site, "/big.bin", If_Match=changed)).status == 412
    assert (await node.get(site, "/big.bin", If_Match=fresh)).status == 200
    assert (await node.get(site, "/none", If_None_Match="*")).status == 404


async def test_headers_of_the_gateway_specs(node: Node) -> None:
    site, built = node.publish(new_key(), TREE)
    answer = await node.get(site, "/docs/a%20b/%C3%BCn%C3%AF%20c%C3%B6de%2B%26%3F%23%25.txt?x=1")
    path = "docs/a b/\u00fcn\u00ef c\u00f6de+&?#%.txt"
    assert answer.headers["x-ipfs-path"] == f"/ipns/{site}/docs/a%20b/%C3%BCn%C3%AF%20c%C3%B6de+&%3F%23%25.txt"
    roots = [str(built.cids[part]) for part in ("", "docs", "docs/a b", path)]
    assert answer.headers["x-ipfs-roots"] == ",".join(roots)
    linked = await node.get(site, "/linked/q%3F")
    assert linked.headers["x-ipfs-roots"].split(",") == [str(built.cids[part]) for part in ("", "docs", "docs/q?")]


async def test_the_sites_own_404_page(node: Node) -> None:
    site, _ = node.publish(new_key(), {"404.html": b"<h1>lost</h1>", "a": b""})
    answer = await node.get(site, "/none/at/all", Range="bytes=0-1")
    assert (answer.status, answer.body) == (404, b"<h1>lost</h1>")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "etag" not in answer.headers
    assert (await node.ask("HEAD", node.origin(site), "/none")).headers["content-length"] == "13"
    folder, _ = node.publish(new_key(), {"404.html": {"x": b""}})
    assert "There is no /none" in (await node.get(folder, "/none")).text


async def test_addresses_are_sandboxed_and_relative_links_work(node: Node) -> None:
    site, _ = node.publish(new_key(), TREE)
    host = f"127.0.0.1:{node.port}"
    answer = await node.ask("GET", host, f"/ipns/{site}")
    assert (answer.status, answer.headers["location"]) == (301, f"/ipns/{site}/")
    for target, status in [("/", 200), ("/docs/", 200), ("/plain/", 200), ("/style.css", 200), ("/none", 404)]:
        answer = await node.ask("GET", host, f"/ipns/{site}{target}")
        assert answer.status == status
        assert "sandbox allow-scripts allow-forms allow-popups" in answer.headers["content-security-policy"]
        assert "allow-same-origin" not in answer.headers["content-security-policy"]


async def test_paths_on_the_domain_lead_to_the_origin(node: Node) -> None:
    site, _ = node.publish(new_key(), TREE)
    host = f"localhost:{node.port}"
    answer = await node.ask("GET", host, f"/ipns/{site}/docs/a%20b?q=%C3%A4")
    assert answer.status == 301
    assert answer.headers["location"] == f"http://{site}.ipns.{host}/docs/a%20b?q=%C3%A4"
    assert (await node.ask("GET", host, f"/ipns/{site}", Service_Worker="script")).status == 400


@pytest.mark.parametrize("host", ["a b", "[::1", "a..b", "x:99999", "\xe4"])
async def test_bad_hosts(node: Node, host: str) -> None:
    answer = await node.ask("GET", host, "/")
    assert answer.status == 400
    assert answer.headers["connection"] == "close"


async def test_the_nodes_own_pages(node: Node, tmp_path: Path) -> None:
    site, _ = node.publish(new_key(), TREE)
    host = f"localhost:{node.port}"
    front = await node.ask("GET", host, "/")
    assert front.status == 200
    assert "It keeps one site" in front.text
    assert str(site) not in front.text
    assert "test &lt;node&gt;" in front.text
    health = await node.ask("GET", host, "/healthz")
    assert (health.status, health.body) == (200, b"ok\n")
    assert (await node.ask("GET", host, "/other")).status == 404
    assert (await node.ask("POST", host, "/")).status == 405


async def test_sites_are_listed_only_if_wished(tmp_path: Path) -> None:
    async with running_node(tmp_path, list_sites=True) as node:
        shown, _ = node.publish(new_key(), TREE)
        hidden, _ = node.publish(new_key(), TREE)
        node.block(hidden)
        front = (await node.ask("GET", "127.0.0.1", "/")).text
        assert f'href="/ipns/{shown}/"' in front
        assert str(hidden) not in front
