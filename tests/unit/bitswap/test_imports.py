"""Imports as the operator starts them: which roots are taken, and what becomes of them."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from node.bitswap.imports import Imports
from node.routing.names import Names
from node.routing.routers import Routers
from node.store.port import TreeOrigin
from protocol import dagcbor, dagjson
from protocol.cid import DAG_CBOR, DAG_JSON, IDENTITY, LIBP2P_KEY, RAW, Cid
from protocol.errors import Malformed, UnsupportedCodec
from tests.unit.bitswap.test_client import Peer, peers
from tests.unit.replication.kit import DEADLINE_S

LEAF = b"what the root links to"


def imports_of(peer: Peer) -> Imports:
    routers = Routers(())
    names = Names(peer.node.store, peer.node.network, routers)
    return Imports(peer.node.replicator.context, peer.server.client, routers, names)


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
