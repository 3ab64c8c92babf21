"""A refused peer gets nothing and gives nothing, on any protocol: each kind of rule against each path of the gate table
that peers have. Readers are no peers, and other peers stay."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import trio

from cli.block import command as block
from cli.daemon import TARGET
from node.admin.client import DaemonError
from node.net.peer_ids import peer_id_bytes
from protocol import messages as msg
from protocol.errors import PeerError
from protocol.site_id import SiteId
from tests.integration.daemons import Daemon, federation
from tests.integration.test_gate_table import (
    OF_A_BLOCK,
    OF_A_SITE,
    Case,
    Probe,
    World,
    hand_in,
    hashed,
    world_of,
)

pytestmark = pytest.mark.integration

DEADLINE_S = 15.0
OF_READERS = ("subdomain", "path", "CID path", "raw response", "routing: IPNS")
OF_PEERS: dict[str, Probe] = {
    name: probe
    for name, probe in (OF_A_BLOCK | OF_A_SITE).items()
    if name.startswith(
        ("publish remote", "publish: ask", "offer", "plea", "ask", "heads", "block stream", "bitswap", "audit", "DHT")
    )
}
RULES: dict[str, Callable[[str], str]] = {
    "peer": lambda peer: f"/p2p/{peer}",
    "peer in CIDv1": lambda peer: f"/p2p/{SiteId.from_multihash(peer_id_bytes(peer))}",
    "hashed peer": lambda peer: hashed(f"/p2p/{peer}"),
    "list peer": lambda peer: f"/p2p/{peer}",
    "list hashed peer": lambda peer: hashed(f"/p2p/{peer}"),
}


async def given(world: World, case: Case, probes: dict[str, Probe]) -> set[str]:
    """The paths that give what is asked for."""
    found = set()
    for path, probe in probes.items():
        with trio.fail_after(DEADLINE_S):
            try:
                if await probe(world, case):
                    found.add(path)
            except (PeerError, trio.BrokenResourceError):
                continue
    return found


def is_connected(daemon: Daemon, peer: str) -> bool:
    with daemon.admin() as client:
        return any(row["peer"] == peer and row["connected"] for row in client.peers())


def explained(daemon: Daemon, peer: str) -> dict[str, str]:
    """The verdict on each act, by what `policy explain` prints."""
    with daemon.admin() as client:
        return {row["act"]: row["verdict"] for row in client.explain(f"/p2p/{peer}")["acts"]}


def completed(daemon: Daemon) -> list[str]:
    """What a shell offers for `fednode block /p2p/`."""
    context = block.make_context("block", [*daemon.at, "/p2p/"])
    return [item.value for item in TARGET.shell_complete(context, block.params[0], "/p2p/")]


def connect(daemon: Daemon, address: str) -> None:
    with daemon.admin() as client:
        client.connect(address)


def add_rule(daemon: Daemon, name: str, peer: str, folder: Path) -> None:
    with daemon.admin() as client:
        if name.startswith("list "):
            deny = folder / f"{name}.deny"
            deny.write_text(f"{RULES[name](peer)}\n")
            client.list_add(str(deny), name=name)
        else:
            client.block(RULES[name](peer), reason=name)


def take_back(daemon: Daemon, name: str, peer: str) -> None:
    with daemon.admin() as client:
        client.list_remove(name) if name.startswith("list ") else client.unblock(RULES[name](peer))


@pytest.mark.parametrize("name", RULES)
async def test_a_refused_peer_is_out_on_every_path(name: str, gate: Daemon, case: Case, tmp_path: Path) -> None:
    in_thread = partial(trio.to_thread.run_sync, abandon_on_cancel=False)
    async with world_of(gate) as world, world_of(gate) as other:
        peer = world.network.local_peer
        assert await given(world, case, OF_PEERS) == OF_PEERS.keys(), "not given before there is a rule"
        assert f"/p2p/{peer}" in await in_thread(completed, gate)
        gone = world.network.events()
        await in_thread(add_rule, gate, name, peer, tmp_path)
        with trio.fail_after(DEADLINE_S):
            while world.network.peers():
                await gone.receive()
        assert await given(world, case, OF_PEERS) == set()
        assert not await in_thread(is_connected, gate, peer)
        readers = {path: OF_A_SITE[path] for path in OF_READERS}
        assert await given(world, case, readers) == readers.keys()
        assert await given(other, case, OF_PEERS) == OF_PEERS.keys(), "another peer"
        verdicts = await in_thread(explained, gate, peer)
        assert {act for act, verdict in verdicts.items() if verdict == "allow"} == {"http-serve"}
        with pytest.raises(DaemonError, match="refused by a rule"):
            await in_thread(connect, gate, world.network.addresses()[0])
        await in_thread(take_back, gate, name, peer)
        await world.network.connect(gate.address, deadline_s=DEADLINE_S)
        # Of bitswap, a stream may be reset once more, by what was meant for the connection before.
        again = {path: probe for path, probe in OF_PEERS.items() if not path.startswith("bitswap")}
        assert await given(world, case, again) == again.keys(), "not given again"


async def test_a_peer_is_refused_over_a_restart(gate: Daemon, case: Case, tmp_path: Path) -> None:
    in_thread = partial(trio.to_thread.run_sync, abandon_on_cancel=False)
    async with world_of(gate) as world:
        peer = world.network.local_peer
        for name in ("peer", "list peer"):
            await in_thread(add_rule, gate, name, peer, tmp_path)
        await in_thread(gate.stop)
        await in_thread(gate.start)
        with pytest.raises(PeerError):
            await world.network.connect(gate.address, deadline_s=DEADLINE_S)
        await in_thread(take_back, gate, "peer", peer)
        with pytest.raises(PeerError):
            await world.network.connect(gate.address, deadline_s=DEADLINE_S)
        await in_thread(take_back, gate, "list peer", peer)
        await world.network.connect(gate.address, deadline_s=DEADLINE_S)


@pytest.fixture(scope="module")
def case() -> Case:
    return Case("peers")


@pytest.fixture(scope="module")
def gate(case: Case) -> Iterator[Daemon]:
    with federation(1) as (daemon,):
        assert isinstance(trio.run(hand_in, daemon, case), msg.Have)
        yield daemon
