"""Imports as the operator starts them: which roots are taken, and what becomes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from node.bitswap import imports as imports_module
from node.bitswap.imports import Imports
from node.bitswap.pending import PendingFile, PendingImport
from node.routing.names import Names
from node.routing.routers import Routers
from node.store.port import TreeOrigin
from protocol import dagcbor, dagjson
from protocol.cid import DAG_CBOR, DAG_JSON, IDENTITY, LIBP2P_KEY, RAW, Cid
from protocol.errors import Malformed, UnsupportedCodec
from tests.unit.bitswap.test_client import Peer, peers
from tests.unit.replication.kit import DEADLINE_S

LEAF = b"what the root links to"


def imports_of(peer: Peer, pending: Path | None = None) -> Imports:
    routers = Routers(())
    names = Names(peer.node.store, peer.node.network, routers)
    noted = PendingFile(pending) if pending is not None else None
    return Imports(peer.node.replicator.context, peer.server.client, routers, names, noted)


async def ended(imports: Imports, number: int) -> dict[str, Any]:
    with trio.fail_after(DEADLINE_S):
        while (found := await imports.get(number))["state"] in ("resolving", "fetching"):
            await trio.testing.wait_all_tasks_blocked()
            await trio.sleep(0.01)
    return found


@pytest.mark.parametrize("codec", [DAG_CBOR, DAG_JSON])
async def test_a_root_of_data_is_imported_with_what_it_links_to(codec: int) -> None:
    leaf = Cid.of(RAW, LEAF)
    body = (dagcbor if codec == DAG_CBOR else dagjson).encode({"a": [leaf]})
    root = Cid.of(codec, body)
    async with peers(2) as (_, (host, guest)), trio.open_nursery() as nursery:
        hold = host.node.store.begin_tree(root)
        host.node.store.put_blocks(hold, [(root, body), (leaf, LEAF)])
        host.node.store.finish_tree(hold, origin=TreeOrigin.IMPORTED)
        imports = imports_of(guest)
        await nursery.start(imports.run)
        started = await imports.start(f"/ipfs/{root}", [host.address])
        with trio.fail_after(DEADLINE_S):
            while (await imports.get(started["number"]))["state"] in ("resolving", "fetching"):
                await trio.testing.wait_all_tasks_blocked()
        found = await imports.get(started["number"])
        assert (found["state"], found["received_blocks"], found["error"]) == ("done", 2, None)
        assert guest.node.store.tree(root) is not None
        assert guest.node.store.get_block(leaf) == LEAF
        nursery.cancel_scope.cancel()


async def test_roots_that_cannot_be_walked_are_refused() -> None:
    async with peers(1) as (_, (peer,)), trio.open_nursery() as nursery:
        imports = imports_of(peer)
        await nursery.start(imports.run)
        for codec in (LIBP2P_KEY, 0x78):  # git-raw
            with pytest.raises(UnsupportedCodec):
                await imports.start(f"/ipfs/{Cid.of(codec, LEAF)}", [])
        with pytest.raises(Malformed):
            await imports.start(f"/ipfs/{Cid(bytes((1, RAW, IDENTITY, len(LEAF))) + LEAF)}", [])
        assert await imports.show() == []
        nursery.cancel_scope.cancel()


async def test_what_was_cut_off_goes_on_and_is_noted_until_it_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imports_module, "RETRY_S", (0.01, 0.01))
    noted = tmp_path / "imports.json"
    root = Cid.of(RAW, LEAF)
    async with peers(2) as (_, (host, guest)):
        async with trio.open_nursery() as nursery:  # nobody has it yet, and then the process ends
            imports = imports_of(guest, noted)
            await nursery.start(imports.run)
            await imports.start(f"/ipfs/{root}", [])
            await imports.start(f"/ipfs/{root}", [host.address])
            await imports.start(f"/ipfs/{Cid.of(RAW, b'other')}", [])
            assert (await imports.cancel(2))["state"] == "cancelled"
            nursery.cancel_scope.cancel()
        assert PendingFile(noted).load() == [PendingImport(f"/ipfs/{root}", (host.address,))]
        hold = host.node.store.begin_tree(root)
        host.node.store.put_blocks(hold, [(root, LEAF)])
        host.node.store.finish_tree(hold, origin=TreeOrigin.IMPORTED)
        async with trio.open_nursery() as nursery:
            imports = imports_of(guest, noted)
            await nursery.start(imports.run)
            found = await ended(imports, 1)
            assert (found["state"], found["resumed"], found["target"]) == ("done", True, f"/ipfs/{root}")
            nursery.cancel_scope.cancel()
        assert guest.node.store.get_block(root) == LEAF
        assert PendingFile(noted).load() == []


@pytest.mark.parametrize("said", ["", "{}", "[1]", '[{"target": 1, "peers": []}]', '[{"target": "x"}]', "\udcff"])
async def test_a_file_that_says_nothing_stops_nobody(tmp_path: Path, said: str) -> None:
    noted = tmp_path / "imports.json"
    noted.write_bytes(said.encode("utf-8", "surrogateescape"))
    async with peers(1) as (_, (peer,)), trio.open_nursery() as nursery:
        imports = imports_of(peer, noted)
        await nursery.start(imports.run)
        assert await imports.show() == []
        nursery.cancel_scope.cancel()


def test_a_disk_that_fails_stops_nobody(tmp_path: Path) -> None:
    PendingFile(tmp_path / "none" / "imports.json").save([PendingImport("/ipfs/x", ())])
