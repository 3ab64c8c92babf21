"""Policy over HTTP: each way to the bytes asks for the site, the root, the path and every CID on the way."""

from __future__ import annotations

import socket

import pytest
import trio

from node.policy.model import Ground, RuleVerdict
from protocol.site_id import SiteId
from tests.unit.gateway.nodes import Node, new_key
from tests.unit.gateway.sites import Symlink, Tree, build, sign, sign_end
from tests.unit.gateway.test_server import is_reset

MIB = 1024 * 1024
TREE: Tree = {
    "index.html": b"home",
    "docs": {"index.html": b"docs", "a.txt": b"a", "secret": {"s.txt": b"s"}},
    "list": {"good.txt": b"good", "bad.txt": b"bad"},
    "alias": Symlink("docs/secret"),
    "404.html": b"lost",
}


async def statuses(node: Node, site: SiteId, *targets: str) -> list[int]:
    return [(await node.get(site, target)).status for target in targets]


@pytest.mark.parametrize(("ground", "status"), [("policy", 410), ("legal", 451)])
@pytest.mark.parametrize("verdict", ["refuse", "quarantine"])
async def test_a_refused_site_is_gone_on_every_path(
    node: Node, ground: Ground, status: int, verdict: RuleVerdict
) -> None:
    site, _ = node.publish(new_key(), TREE)
    other, _ = node.publish(new_key(), TREE)
    assert await statuses(node, site, "/", "/none") == [200, 404]
    target = node.block(site, verdict=verdict, ground=ground)
    assert await statuses(node, site, "/", "/docs", "/docs/", "/none", "/list/", "/404.html") == [status] * 6
    by_path = await node.ask("GET", f"127.0.0.1:{node.port}", f"/ipns/{site}/docs/a.txt")
    assert by_path.status == status
    assert (await node.ask("HEAD", node.origin(site), "/")).status == status
    assert (await node.get(other, "/")).status == 200
    assert node.store.remove_rule(target)
    assert (await node.get(site, "/")).body == b"home"


async def test_the_page_says_who_why_and_where_else(node: Node) -> None:
    site, _ = node.publish(new_key(), TREE)
    node.block(site, ground="legal")
    answer = await node.get(site, "/", If_None_Match="*")
    assert answer.status == 451
    assert answer.headers["link"] == '<mailto:ops@example.org>; rel="blocked-by"'
    assert answer.headers["cache-control"] == "no-store"
    for said in ("test &lt;node&gt;", "spam &amp; &lt;b&gt;", f"/ipns/{site}", "ops@example.org", "legal", "Since"):
        assert said in answer.text
    assert '<b>"junk' not in answer.text
    assert "//" not in answer.text  # it loads nothing and leads nowhere


async def test_a_root_that_is_refused_is_refused_in_every_site(node: Node) -> None:
    first, built = node.publish(new_key(), TREE)
    second, _ = node.publish(new_key(), TREE)
    node.block(built.root)
    for site in (first, second):
        assert await statuses(node, site, "/", "/docs/a.txt", "/none") == [410] * 3


async def test_paths_and_prefixes(node: Node) -> None:
    site, built = node.publish(new_key(), TREE)
    node.block(built.root, path="docs/secret*")
    assert await statuses(node, site, "/docs/secret", "/docs/secret/", "/docs/secret/s.txt") == [410] * 3
    assert await statuses(node, site, "/docs/secret/none", "/docs/%73ecret/s.txt", "//docs//secret/") == [410] * 3
    assert await statuses(node, site, "/alias/", "/alias/s.txt") == [410] * 2
    assert await statuses(node, site, "/docs/", "/docs/a.txt", "/docs/none") == [200, 200, 404]


async def test_the_index_behind_a_folder_is_asked_for(node: Node) -> None:
    site, built = node.publish(new_key(), TREE)
    node.block(built.root, path="docs/index.html")
    assert await statuses(node, site, "/docs/", "/docs/index.html", "/docs/a.txt", "/") == [410, 410, 200, 200]


async def test_a_folder_that_is_refused_takes_all_below_with_it(node: Node) -> None:
    site, built = node.publish(new_key(), TREE)
    node.block(built.cids["docs"])
    assert await statuses(node, site, "/docs", "/docs/", "/docs/a.txt", "/docs/secret/", "/alias/s.txt") == [410] * 5
    assert await statuses(node, site, "/", "/list/") == [200, 200]


async def test_a_listing_leaves_out_what_is_refused(node: Node) -> None:
    site, built = node.publish(new_key(), TREE)
    node.block(built.cids["list/bad.txt"])
    listing = await node.get(site, "/list/")
    assert "good.txt" in listing.text
    assert "bad.txt" not in listing.text
    assert await statuses(node, site, "/list/bad.txt", "/list/good.txt") == [410, 200]
    node.block(built.root, path="list/good.txt")
    assert "good.txt" not in (await node.get(site, "/list/")).text


async def test_a_refused_404_page_is_not_shown(node: Node) -> None:
    site, built = node.publish(new_key(), TREE)
    node.block(built.cids["404.html"])
    answer = await node.get(site, "/none")
    assert answer.status == 404
    assert b"lost" not in answer.body


async def test_conditions_do_not_get_around_policy(node: Node) -> None:
    site, built = node.publish(new_key(), TREE)
    etag = f'"{built.cids["docs/a.txt"]}"'
    assert (await node.get(site, "/docs/a.txt", If_None_Match=etag)).status == 304
    node.block(built.cids["docs/a.txt"])
    assert (await node.get(site, "/docs/a.txt", If_None_Match=etag)).status == 410
    assert (await node.get(site, "/docs/a.txt", Range="bytes=9-")).status == 410


async def test_a_refused_block_inside_a_file_is_not_sent(node: Node) -> None:
    content = bytes(100) + b"x" * 100 + b"y" * 100
    site, built = node.publish(new_key(), {"f.bin": content}, chunk_bytes=100)
    leaves = {block: cid for cid, block in built.blocks.items()}
    node.block(leaves[b"y" * 100])
    client = await node.connect()
    with client.sock:
        await client.send(f"GET /f.bin HTTP/1.1\r\nHost: {node.origin(site)}\r\n\r\n".encode())
        assert await is_reset(client)
    assert (await node.get(site, "/f.bin", Range="bytes=200-")).status == 410
    assert (await node.get(site, "/f.bin", Range="bytes=0-199")).body == content[:200]


async def test_a_new_rule_cuts_answers_on_their_way(node: Node) -> None:
    content = b"".join(bytes([n]) * MIB for n in range(40))
    site, _ = node.publish(new_key(), {"big.bin": content})
    other, _ = node.publish(new_key(), {"big.bin": content[::-1]})
    cut, whole = await node.connect(), await node.connect()
    with cut.sock, whole.sock:
        for client, wanted in ((cut, site), (whole, other)):
            await client.send(f"GET /big.bin HTTP/1.1\r\nHost: {node.origin(wanted)}\r\n\r\n".encode())
            assert await client.sock.recv(1, socket.MSG_PEEK)
        await node.app.apply_new_rules()
        node.block(site)
        await node.app.apply_new_rules()
        with trio.fail_after(10):
            assert await is_reset(cut)
            assert (await whole.answer()).body == content[::-1]


async def test_the_end_of_a_site(node: Node) -> None:
    key = new_key()
    site, _ = node.publish(key, TREE)
    node.store.end_site(sign_end(key))
    answer = await node.get(site, "/docs/a.txt")
    assert answer.status == 410
    assert "Its publisher ended it" in answer.text
    assert node.backend.resolved == []


async def test_a_site_found_elsewhere_is_asked_about_with_its_root(node: Node) -> None:
    key, built = new_key(), build(TREE)
    signed = sign(key, built)
    node.backend.heads[signed.site] = signed
    node.backend.blocks.update(built.blocks)
    node.block(built.root)
    assert (await node.get(signed.site, "/")).status == 410
    assert node.backend.fetched == []
    node.block(signed.site)
    asked = len(node.backend.resolved)
    assert (await node.get(signed.site, "/")).status == 410
    assert len(node.backend.resolved) == asked
