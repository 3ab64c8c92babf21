"""The gate has no side door: every path in and out of a real daemon against every kind of rule.

Before a rule each path gives; under it each refuses: within a second, in both workers, and after a restart. What is
under way when a rule comes: tests/unit/policy/test_in_flight.py.
"""

from __future__ import annotations

import http.client
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import trio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from libp2p.kad_dht.pb.kademlia_pb2 import Message

from node.membership.audits import proofs_of
from node.net.channel import FrameChannel
from node.net.delimited import delimited
from node.net.libp2p_dht import PROTOCOLS
from node.net.memory import Air
from node.net.peer_ids import peer_id_bytes
from node.net.port import Network
from node.replication.comparing import receive_listing, send_listing
from protocol import messages as msg
from protocol import multibase, varint
from protocol.audit import NONCE_BYTES
from protocol.bitswap import Want
from protocol.cid import SHA2_256, Cid, multihash_of
from protocol.deny_keys import key_text
from protocol.member_messages import AUDIT_PROTOCOL, Challenge, Of, Summary, Wanted
from protocol.messages import PUBLISH_PROTOCOL, SYNC_PROTOCOL
from protocol.release import SignedRelease
from protocol.site_id import SiteId
from protocol.summary import BUCKETS_MIN, SUM_BYTES
from tests.integration.daemons import Daemon, daemon_folder
from tests.integration.peers import offered_heads, peer_of, say
from tests.unit.bitswap.test_server import Client
from tests.unit.gateway.dns_server import DnsServer, dns_server
from tests.unit.gateway.sites import Built, Tree, build, sign

pytestmark = pytest.mark.integration

DEADLINE_S = 15.0
REFUSED_IN_S = 1.0
CONNECTIONS = 2  # the system spreads them over the workers, and each column has as many again for every row
SECRET = "secret/a.txt"
DHT_PROTOCOL = PROTOCOLS["federation"]


class Case:
    """A site of its own for each kind of rule."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.domain = f"{name.replace(' ', '-')}.example.org"
        self.secret = f"the secret of {name}".encode()
        tree: Tree = {
            "index.html": f"home of {name}".encode(),
            "secret": {"a.txt": self.secret, "b.txt": f"beside {name}".encode()},
        }
        self.built: Built = build(tree)
        self.signed: SignedRelease = sign(Ed25519PrivateKey.generate(), self.built, domains=(self.domain,))

    @property
    def site(self) -> SiteId:
        return self.signed.site

    @property
    def root(self) -> Cid:
        return self.built.root

    @property
    def secret_cid(self) -> Cid:
        return self.built.cids[SECRET]


def hashed(text: str) -> str:
    """A rule of the newer generation."""
    return "//" + multibase.encode("base58btc", multihash_of(SHA2_256, 32, text.encode()))[1:]


def base58(cid: Cid) -> str:
    return multibase.encode("base58btc", cid.multihash)[1:]


# --- the rows: kinds of rules ------------------------------------------------------------------------------

Text = Callable[[Case], str]

WHOLE: dict[str, Text] = {
    "site": lambda case: f"/ipns/{case.site}",
    "root": lambda case: f"/ipfs/{case.root}",
    "root and all below": lambda case: f"/ipfs/{case.root}/*",
    "domain": lambda case: f"/ipns/{case.domain}",
    "hashed site": lambda case: hashed(key_text(case.site)),
    "hashed root": lambda case: hashed(base58(case.root)),
    "hashed root older": lambda case: "//" + sha256(f"{case.root}/".encode()).hexdigest(),
    "legal site": lambda case: f"/ipns/{case.site}",
    "list site": lambda case: f"/ipns/{case.site}",
    "list root": lambda case: f"/ipfs/{case.root}",
    "list domain": lambda case: f"/ipns/{case.domain}",
    "list hashed": lambda case: hashed(key_text(case.site)),
}

BLOCK: dict[str, Text] = {
    "block": lambda case: f"/ipfs/{case.secret_cid}",
    "hashed block": lambda case: hashed(base58(case.secret_cid)),
    "list block": lambda case: f"/ipfs/{case.secret_cid}",
}

PATH: dict[str, Text] = {
    "path": lambda case: f"/ipfs/{case.root}/{SECRET}",
    "prefix": lambda case: f"/ipfs/{case.root}/sec*",
    "path in a site": lambda case: f"/ipns/{case.site}/{SECRET}",
    "path in a domain": lambda case: f"/ipns/{case.domain}/{SECRET}",
    "hashed path": lambda case: hashed(f"{base58(case.root)}/{SECRET}"),
    "list path": lambda case: f"/ipfs/{case.root}/{SECRET}",
    "list prefix": lambda case: f"/ipfs/{case.root}/secret/*",
}


# --- the columns: paths in and out -------------------------------------------------------------------------


@dataclass
class World:
    """The daemon, and a peer of it that says what a probe says and is an IPFS client, too."""

    daemon: Daemon
    network: Network
    peer: str
    client: Client

    async def say(self, protocol: str, *messages: msg.Message) -> msg.Message | None:
        return await say(self.network, self.peer, protocol, *messages)

    async def get(self, host: str, target: str) -> list[tuple[int, bytes]]:
        """On new connections, so that each worker answers."""
        return await trio.to_thread.run_sync(self._get, host, target)

    def _get(self, host: str, target: str) -> list[tuple[int, bytes]]:
        address, _, port = self.daemon.gateway.rpartition(":")
        answers = []
        for _ in range(CONNECTIONS):
            connection = http.client.HTTPConnection(address, int(port), timeout=DEADLINE_S)
            with closing(connection):
                connection.request("GET", target, headers={"Host": host.replace("PORT", port)})
                response = connection.getresponse()
                try:
                    answers.append((response.status, response.read()))
                except http.client.HTTPException:  # cut
                    answers.append((0, b""))
        return answers


Probe = Callable[[World, Case], Awaitable[bool]]
"""Whether the path gives what is asked for; where several workers answer, whether any does."""

ADDRESS = "127.0.0.1:PORT"


def reads(host: Text, target: Text, content: Callable[[Case], bytes] = lambda case: b"") -> Probe:
    async def probe(world: World, case: Case) -> bool:
        answers = await world.get(host(case), target(case))
        return any(status == 200 and content(case) in body for status, body in answers)

    return probe


def takes(protocol: str, message: Callable[[Case], msg.Message]) -> Probe:
    async def probe(world: World, case: Case) -> bool:
        return not isinstance(await world.say(protocol, message(case)), msg.Refuse)

    return probe


async def published_locally(world: World, case: Case) -> bool:
    return isinstance(await hand_in(world.daemon, case), msg.Have)


async def hand_in(daemon: Daemon, case: Case) -> msg.Message | None:
    """What `fednode publish` does on the socket of the node."""
    stream = await trio.open_unix_socket(str(daemon.data_dir / "run" / "publish.sock"))
    async with FrameChannel(stream, idle_s=DEADLINE_S, write_s=DEADLINE_S) as channel:
        await channel.send(msg.Offer(case.signed))
        while isinstance(answer := await channel.receive(), msg.Want | msg.Progress):
            for cid in answer.cids if isinstance(answer, msg.Want) else ():
                await channel.send(msg.Block(cid, case.built.blocks[cid]))
        return answer


async def offered(world: World, case: Case) -> bool:
    return case.signed in await offered_heads(world.network, world.peer)


async def summed(world: World, case: Case) -> bool:
    stream = await world.network.open(world.peer, SYNC_PROTOCOL, deadline_s=DEADLINE_S)
    async with FrameChannel(stream, idle_s=DEADLINE_S, write_s=DEADLINE_S) as channel:
        await channel.send(Summary(Of.SITES, bytes(SUM_BYTES * BUCKETS_MIN), int(time.time())))
        await channel.receive()
        listed = [entry.key for entry in await receive_listing(channel, Of.SITES)]
        await send_listing(channel, Of.SITES, [])
        await channel.send(msg.End())
        while isinstance(await channel.receive(), msg.Offer):
            continue
        return case.site in listed


def streamed(cid: Callable[[Case], Cid]) -> Probe:
    async def probe(world: World, case: Case) -> bool:
        fetch = msg.Fetch(case.site, case.signed.cid)
        return isinstance(await world.say(SYNC_PROTOCOL, fetch, msg.Want((cid(case),))), msg.Block)

    return probe


def swapped(cid: Callable[[Case], Cid], *, have: bool = False) -> Probe:
    async def probe(world: World, case: Case) -> bool:
        blocks, presences = await world.client.answers(Want(cid(case), have=have, send_dont_have=True))
        return bool(blocks) or any(presences.values())

    return probe


async def audited(world: World, case: Case) -> bool:
    answer = await world.say(AUDIT_PROTOCOL, Challenge(bytes(NONCE_BYTES), case.site, (case.root,)))
    return any(proofs_of(answer))


def dht_takes(key: Callable[[Case], bytes]) -> Probe:
    async def probe(world: World, case: Case) -> bool:
        message = Message(type=Message.ADD_PROVIDER, key=key(case))
        message.providerPeers.add(id=peer_id_bytes(world.network.local_peer))
        return await ask_dht(world, message) is not None

    return probe


def dht_tells(key: Callable[[Case], bytes]) -> Probe:
    async def probe(world: World, case: Case) -> bool:
        answer = await ask_dht(world, Message(type=Message.GET_PROVIDERS, key=key(case)))
        return bool(answer.providerPeers)

    return probe


async def ask_dht(world: World, message: Any) -> Any:
    """The answer to a message; None when the stream is reset."""
    stream = await world.network.open(world.peer, DHT_PROTOCOL, deadline_s=DEADLINE_S)
    async with stream:
        await stream.send_all(delimited(message.SerializeToString()))
        raw = b""
        try:
            while not raw or len(raw) < sum(varint.decode(raw)):
                raw += await stream.receive_some(65536)
        except trio.BrokenResourceError:
            return None
    return Message.FromString(raw[varint.decode(raw)[1] :])


def on_address(_: Case) -> str:
    return ADDRESS


def the_root(case: Case) -> Cid:
    return case.root


def the_secret(case: Case) -> Cid:
    return case.secret_cid


def site_key(case: Case) -> bytes:
    return case.site.cid.multihash


def root_key(case: Case) -> bytes:
    return case.root.multihash


OF_A_SITE: dict[str, Probe] = {
    "subdomain": reads(lambda case: f"{case.site}.ipns.localhost:PORT", lambda case: "/"),
    "path": reads(on_address, lambda case: f"/ipns/{case.site}/"),
    "domain": reads(lambda case: case.domain, lambda case: "/"),
    "CID path": reads(on_address, lambda case: f"/ipfs/{case.root}/"),
    "CID subdomain": reads(lambda case: f"{case.root}.ipfs.localhost:PORT", lambda case: "/"),
    "raw response": reads(on_address, lambda case: f"/ipfs/{case.root}?format=raw"),
    "CAR response": reads(on_address, lambda case: f"/ipfs/{case.root}?format=car"),
    "CAR of the site": reads(on_address, lambda case: f"/ipns/{case.site}?format=car"),
    "TAR of the site": reads(on_address, lambda case: f"/ipns/{case.site}?format=tar"),
    "IPNS record": reads(on_address, lambda case: f"/ipns/{case.site}?format=ipns-record"),
    "front page": reads(on_address, lambda case: "/", lambda case: str(case.site).encode()),
    "routing: providers": reads(on_address, lambda case: f"/routing/v1/providers/{case.root}", lambda case: b'"ID"'),
    "routing: IPNS": reads(
        on_address, lambda case: f"/routing/v1/ipns/{case.site}", lambda case: case.signed.ipns_record
    ),
    "publish local": published_locally,
    "publish remote": takes(PUBLISH_PROTOCOL, lambda case: msg.Offer(case.signed)),
    "publish: ask": takes(PUBLISH_PROTOCOL, lambda case: msg.Ask(case.site)),
    "offer": takes(SYNC_PROTOCOL, lambda case: msg.Offer(case.signed)),
    "plea": takes(SYNC_PROTOCOL, lambda case: Wanted(case.signed)),
    "ask": takes(SYNC_PROTOCOL, lambda case: msg.Ask(case.site)),
    "heads offered": offered,
    "heads summed": summed,
    "block stream": streamed(the_root),
    "bitswap block": swapped(the_root),
    "bitswap have": swapped(the_root, have=True),
    "audit": audited,
    "DHT takes name": dht_takes(site_key),
    "DHT tells name": dht_tells(site_key),
    "DHT takes root": dht_takes(root_key),
    "DHT tells root": dht_tells(root_key),
}

OF_A_PATH: dict[str, Probe] = {
    "subdomain": reads(lambda case: f"{case.site}.ipns.localhost:PORT", lambda _: f"/{SECRET}"),
    "path": reads(on_address, lambda case: f"/ipns/{case.site}/{SECRET}"),
    "domain": reads(lambda case: case.domain, lambda case: f"/{SECRET}"),
    "CID path": reads(on_address, lambda case: f"/ipfs/{case.root}/{SECRET}"),
    "raw response": reads(on_address, lambda case: f"/ipfs/{case.root}/{SECRET}?format=raw"),
    "CAR response": reads(on_address, lambda case: f"/ipns/{case.site}/{SECRET}?format=car"),
    "TAR response": reads(on_address, lambda case: f"/ipns/{case.site}/{SECRET}?format=tar"),
    "listing": reads(on_address, lambda case: f"/ipns/{case.site}/secret/", lambda case: b"a.txt"),
}

OF_A_BLOCK: dict[str, Probe] = OF_A_PATH | {
    "CID": reads(on_address, lambda case: f"/ipfs/{case.secret_cid}"),
    "raw by CID": reads(on_address, lambda case: f"/ipfs/{case.secret_cid}?format=raw"),
    "CAR of the site": reads(on_address, lambda case: f"/ipns/{case.site}?format=car", lambda case: case.secret),
    "TAR of the site": reads(on_address, lambda case: f"/ipns/{case.site}?format=tar", lambda case: case.secret),
    "routing: providers": reads(
        on_address, lambda case: f"/routing/v1/providers/{case.secret_cid}", lambda case: b'"ID"'
    ),
    "block stream": streamed(the_secret),
    "bitswap block": swapped(the_secret),
    "bitswap have": swapped(the_secret, have=True),
    "DHT takes": dht_takes(lambda case: case.secret_cid.multihash),
    "DHT tells": dht_tells(lambda case: case.secret_cid.multihash),
}

TABLE = ((WHOLE, OF_A_SITE), (BLOCK, OF_A_BLOCK), (PATH, OF_A_PATH))
CASES = {name: Case(name) for rules, _ in TABLE for name in rules}


# --- the table ---------------------------------------------------------------------------------------------


@pytest.fixture
def dns() -> Iterator[DnsServer]:
    with dns_server() as server:
        for case in CASES.values():
            server.txt[f"_dnslink.{case.domain}"] = [f"dnslink=/ipns/{case.site}"]
        yield server


@asynccontextmanager
async def world_of(daemon: Daemon) -> AsyncIterator[World]:
    async with peer_of(daemon) as (network, peer):
        yield World(daemon, network, peer, Client(Air(), network, peer))


async def given(world: World, rules: dict[str, Text], probes: dict[str, Probe]) -> set[tuple[str, str]]:
    """The cells of the table that give what is asked for."""
    found = set()
    for rule in rules:
        for path, probe in probes.items():
            with trio.fail_after(DEADLINE_S):
                if await probe(world, CASES[rule]):
                    found.add((rule, path))
    return found


def add_rules(daemon: Daemon, rules: dict[str, Text], folder: Path) -> None:
    with daemon.admin() as client:
        for name, text in rules.items():
            target = text(CASES[name])
            if name.startswith("list "):
                deny = folder / f"{name}.deny"
                deny.write_text(f"{target}\n")
                client.list_add(str(deny), cap_sites=100)
            else:
                client.block(target, ground="legal" if name.startswith("legal") else "policy", reason=name)


async def refused_soon(world: World, rules: dict[str, Text], probes: dict[str, Probe]) -> set[tuple[str, str]]:
    """What still gives when the time is up; each cell alone is asked again meanwhile."""
    end_s = trio.current_time() + REFUSED_IN_S
    left = await given(world, rules, probes)
    is_late = False
    while left and not is_late:
        is_late = trio.current_time() >= end_s
        left = {cell for cell in left if await probes[cell[1]](world, CASES[cell[0]])}
    return left


async def test_every_rule_closes_every_path(dns: DnsServer, tmp_path: Path) -> None:
    with daemon_folder() as folder:
        settings = {"gateway_workers": "2", "gateway_list_sites": "true", "gateway_dns_servers": dns.address}
        daemon = Daemon("gate", folder, **settings)
        in_thread = partial(trio.to_thread.run_sync, abandon_on_cancel=False)
        await in_thread(daemon.start)
        try:
            for case in CASES.values():
                assert isinstance(await hand_in(daemon, case), msg.Have)
            async with world_of(daemon) as world:
                for rules, probes in TABLE:
                    cells = {(rule, path) for rule in rules for path in probes}
                    assert cells - await given(world, rules, probes) == set(), "not given before there is a rule"
                for rules, probes in TABLE:
                    await in_thread(add_rules, daemon, rules, tmp_path)
                    assert await refused_soon(world, rules, probes) == set()
            await in_thread(daemon.stop)
            await in_thread(daemon.start)
            async with world_of(daemon) as world:
                for rules, probes in TABLE:
                    assert await given(world, rules, probes) == set(), "given again after a restart"
        finally:
            await in_thread(daemon.stop)
