"""Sites that are elsewhere, blocks that are missing or damaged, and a daemon that does not answer."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
import trio

from node.gateway.backend import Unavailable
from node.gateway.limits import FetchLimits
from node.store.errors import BlockCorrupt
from node.store.layout import DATABASE_NAME, pack_path
from protocol.builder import DirEntry, build_directory
from protocol.cid import DAG_PB, Cid
from protocol.site_id import SiteId
from tests.unit.gateway.nodes import Node, new_key, running_node
from tests.unit.gateway.sites import Built, Tree, build, keep, publish, sign, sign_end
from tests.unit.gateway.test_server import is_reset

MIB = 1024 * 1024
TREE: Tree = {"index.html": b"home", "docs": {"a.txt": b"aaa"}, "big.bin": bytes(range(256)) * 16384}


def damage(node: Node, cid: Cid) -> None:
    """Flip a bit of a block on disk."""
    directory = node.store.directory
    with sqlite3.connect(directory / DATABASE_NAME) as connection:
        row = connection.execute("SELECT pack, start, span, length FROM blocks WHERE cid = ?", (cid,)).fetchone()
    connection.close()
    pack, start, span, length = row
    with pack_path(directory, pack).open("r+b") as file:
        file.seek(start + span - length)
        first = file.read(1)
        file.seek(start + span - length)
        file.write(bytes([first[0] ^ 1]))


async def test_a_site_that_is_elsewhere_is_fetched_and_served(node: Node) -> None:
    key, built = new_key(), build(TREE)
    signed = sign(key, built)
    node.backend.heads[signed.site] = signed
    node.backend.blocks.update(built.blocks)
    assert (await node.get(signed.site, "/")).body == b"home"
    assert node.backend.fetched == [built.root, built.cids["index.html"]]
    assert (await node.get(signed.site, "/docs/a.txt")).body == b"aaa"
    assert (await node.get(signed.site, "/big.bin")).body == TREE["big.bin"]
    assert len(node.backend.fetched) == len(set(node.backend.fetched))
    assert node.backend.resolved == [signed.site]


async def test_a_site_that_nobody_has(node: Node) -> None:
    site = SiteId.of(new_key())
    for _ in range(2):
        answer = await node.get(site, "/x")
        assert answer.status == 404
        assert "no host of this site answered" in answer.text
        assert f"/ipns/{site}" in answer.text
    assert node.backend.resolved == [site]


async def test_an_end_that_is_found_elsewhere(node: Node) -> None:
    key = new_key()
    node.backend.heads[SiteId.of(key)] = sign_end(key)
    assert (await node.get(SiteId.of(key), "/")).status == 410


async def test_fetching_can_be_off(tmp_path: Path) -> None:
    async with running_node(tmp_path, fetch_on_miss=False) as node:
        key, built = new_key(), build(TREE)
        signed = sign(key, built)
        node.backend.heads[signed.site] = signed
        assert (await node.get(signed.site, "/")).status == 404
        assert node.backend.resolved == []
        # What is hosted here is healed all the same.
        node.backend.blocks.update(built.blocks)
        keep(node.store, signed, built)
        damage(node, built.cids["index.html"])
        assert (await node.get(signed.site, "/")).body == b"home"


async def test_a_damaged_block_is_healed_and_never_served(node: Node) -> None:
    site, built = node.publish(new_key(), TREE)
    damaged = built.cids["docs/a.txt"]
    damage(node, damaged)
    answer = await node.get(site, "/docs/a.txt")
    assert answer.status == 502
    assert b"aaa" not in answer.body
    with pytest.raises(BlockCorrupt):
        node.store.get_block(damaged)
    node.backend.blocks[damaged] = b"aaa"
    assert (await node.get(site, "/docs/a.txt")).body == b"aaa"
    assert node.store.get_block(damaged) == b"aaa"


async def test_an_answer_that_cannot_be_completed_is_reset(node: Node) -> None:
    content = b"".join(bytes([n]) * MIB for n in range(8))
    site, built = node.publish(new_key(), {"big.bin": content})
    leaf = next(cid for cid, block in built.blocks.items() if block[:1] == b"\5")
    damage(node, leaf)
    client = await node.connect()
    with client.sock:
        await client.send(f"GET /big.bin HTTP/1.1\r\nHost: {node.origin(site)}\r\n\r\n".encode())
        assert await is_reset(client)
    assert (await node.get(site, "/big.bin", Range=f"bytes=0-{5 * MIB - 1}")).body == content[: 5 * MIB]
    node.backend.blocks[leaf] = built.blocks[leaf]
    assert (await node.get(site, "/big.bin")).body == content


async def test_who_waits_too_long_is_told_so(tmp_path: Path) -> None:
    limits = FetchLimits(first_byte_s=0.1, block_s=0.1)
    async with running_node(tmp_path, fetch_limits=limits) as node:
        node.backend.hang = True
        answer = await node.get(SiteId.of(new_key()), "/")
        assert answer.status == 504
        assert answer.headers["retry-after"]
        content = b"".join(bytes([n]) * MIB for n in range(3))
        site, built = node.publish(new_key(), {"big.bin": content})
        damage(node, next(cid for cid, block in built.blocks.items() if block[:1] == b"\2"))
        client = await node.connect()
        with client.sock:
            await client.send(f"GET /big.bin HTTP/1.1\r\nHost: {node.origin(site)}\r\n\r\n".encode())
            with trio.fail_after(5):
                assert await is_reset(client)


@pytest.mark.parametrize(("kind", "status"), [("refused", 410), ("not-found", 404), ("timeout", 504), ("busy", 503)])
async def test_what_the_daemon_says_reaches_the_reader(
    node: Node, kind: str, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(site: SiteId, below: int | None = None) -> None:
        raise Unavailable(kind, "because <so>")  # type: ignore[arg-type]

    monkeypatch.setattr(node.backend, "resolve", fail)
    answer = await node.get(SiteId.of(new_key()), "/")
    assert answer.status == status
    assert "because &lt;so&gt;" in answer.text


async def test_readers_of_the_same_missing_block_share_one_fetch(node: Node) -> None:
    site, built = node.publish(new_key(), TREE)
    cid = built.cids["docs/a.txt"]
    damage(node, cid)
    gate = trio.Event()
    asked = []

    async def slow(site: SiteId, cid: Cid) -> None:
        asked.append(cid)
        await gate.wait()
        await type(node.backend).fetch_block(node.backend, site, cid)

    node.backend.blocks[cid] = b"aaa"
    node.backend.fetch_block = slow  # type: ignore[method-assign]
    bodies = []

    async def read() -> None:
        bodies.append((await node.get(site, "/docs/a.txt")).body)

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(read)
        while node.server.stats.requests < 5:  # noqa: ASYNC110 - the server's counter is the event
            await trio.sleep(0.01)
        gate.set()
    assert bodies == [b"aaa"] * 5
    assert asked == [cid]


async def test_a_release_that_is_replaced_while_it_is_read(node: Node) -> None:
    """The old release's blocks vanish between finding the head and reading the blocks: the new one is served."""
    key = new_key()
    site, old = node.publish(key, {"index.html": b"old"})

    async def replace(site: SiteId, cid: Cid) -> None:
        if cid in old.blocks:
            publish(node.store, key, {"index.html": b"new"}, seq=2)
        raise Unavailable("not-found", "gone")

    damage(node, old.root)
    node.backend.fetch_block = replace  # type: ignore[method-assign]
    assert (await node.get(site, "/")).body == b"new"


async def test_the_held_release_is_served_until_the_next_is_complete(node: Node) -> None:
    key = new_key()
    site, _ = node.publish(key, {"index.html": b"one"})
    built = build({"index.html": b"two"})
    signed = sign(key, built, seq=2)
    node.store.set_head(signed)
    assert (await node.get(site, "/")).body == b"one"
    keep(node.store, signed, built)
    assert (await node.get(site, "/")).body == b"two"


async def test_a_known_newer_head_beats_what_others_say(node: Node) -> None:
    key = new_key()
    old, new = build({"index.html": b"old"}), build({"index.html": b"new"})
    site = SiteId.of(key)
    node.backend.heads[site] = sign(key, old)
    node.backend.blocks.update(old.blocks | new.blocks)
    node.store.set_head(sign(key, new, seq=5))
    assert (await node.get(site, "/")).body == b"new"


@pytest.mark.parametrize("heard_of", [False, True])
async def test_a_release_that_cannot_be_had_leaves_the_one_before_it(node: Node, heard_of: bool) -> None:
    key = new_key()
    old, new = build({"index.html": b"old"}), build({"index.html": b"new"})
    older, newer = sign(key, old), sign(key, new, seq=2)
    site = SiteId.of(key)
    node.backend.blocks.update(old.blocks)
    if heard_of:  # from a peer that is gone; hosts give the older one
        node.store.set_head(newer)
        node.backend.heads[site] = older
    else:
        node.backend.heads[site], node.backend.older[site] = newer, older
    assert (await node.get(site, "/")).body == b"old"
    assert (await node.get(site, "/")).body == b"old"
    assert node.backend.fetched.count(new.root) == 1, "the newer one is not tried for each reader"


async def test_a_part_of_a_release_that_cannot_be_had(node: Node) -> None:
    key = new_key()
    old, new = build({"a.txt": b"old a", "b.txt": b"b"}), build({"a.txt": b"new a", "b.txt": b"b"})
    site = SiteId.of(key)
    node.backend.heads[site], node.backend.older[site] = sign(key, new, seq=2), sign(key, old)
    node.backend.blocks.update(old.blocks | {new.root: new.blocks[new.root]})
    assert (await node.get(site, "/b.txt")).body == b"b"
    assert (await node.get(site, "/a.txt")).body == b"old a"
    node.backend.heads[site] = sign_end(key)
    node.store.set_head(sign_end(key))
    assert (await node.get(site, "/a.txt")).status == 410


async def test_nothing_can_be_had_of_any_release(node: Node) -> None:
    key = new_key()
    old, new = build({"index.html": b"old"}), build({"index.html": b"new"})
    site = SiteId.of(key)
    node.backend.heads[site], node.backend.older[site] = sign(key, new, seq=2), sign(key, old)
    for _ in range(2):
        assert (await node.get(site, "/")).status == 502


async def test_a_malformed_site_is_the_publishers_fault(node: Node) -> None:
    block = b"\x12\x00\x00"
    bad = Cid.of(DAG_PB, block)
    blocks = {bad: block}
    link = build_directory([DirEntry("bad", bad, len(block))], blocks.__setitem__)
    built = Built(link.cid, blocks, {})
    key = new_key()
    keep(node.store, sign(key, built), built)
    assert (await node.get(SiteId.of(key), "/bad")).status == 502
    assert (await node.get(SiteId.of(key), "/")).status == 200
