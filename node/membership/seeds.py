"""Nodes to begin with that a DNS name lists (docs/spec/membership.md, 11): hints, as all addresses are."""

from __future__ import annotations

import logging
import random
from collections import deque

import trio

from node.gateway.dns import Dns, NoAnswer
from node.net.addresses import Address
from node.net.port import BadAddress, Network, PeerId
from node.replication.neighbours import NEIGHBOURS_MIN
from protocol.dnsaddr import RECORDS_AT, RECURSION_MAX, further, read_records

# Of one seed: names that are asked for, with those to which its records lead, and addresses that are taken.
NAMES_MAX = 16
ADDRESSES_MAX = 32
# While there are too few connections the seeds are asked again so often; when DNS does not answer, sooner at first.
AGAIN_S = 600.0
RETRY_S = 5.0
# With enough connections nobody is asked; so often it is looked whether there still are.
LOOK_S = 30.0

log = logging.getLogger(__name__)


class Seeds:
    """What the names have led to is dialled by `Neighbours`."""

    def __init__(self, network: Network, dns: Dns, names: tuple[str, ...]) -> None:
        self._peers: dict[PeerId, str] = {}
        self._network = network
        self._dns = dns
        self._names = names

    def found(self) -> list[PeerId]:
        """Whom the names led to last; where they are is remembered by the network."""
        return list(self._peers)

    async def run(self) -> None:
        """Until cancelled."""
        failures, wait_s = 0, 0.0
        while self._names:
            await trio.sleep(wait_s * random.uniform(0.75, 1.25))  # noqa: S311 - spreads timers
            wait_s = LOOK_S
            if len(self._network.peers()) < NEIGHBOURS_MIN:
                failures = 0 if await self.look() else failures + 1
                wait_s = min(AGAIN_S, RETRY_S * 2.0 ** min(failures, 10)) if failures else AGAIN_S

    async def look(self) -> bool:
        """Asks for all names. False when DNS did not answer for one, or none of them led to a node."""
        found: dict[PeerId, str] = {}
        answered = True
        for name in self._names:
            try:
                found |= await self._of(name)
            except NoAnswer as error:
                log.info("DNS seed %s: %s", name, error)
                answered = False
        if found:
            log.info("DNS seeds name %d nodes", len(found))
            self._peers = found
        for peer, address in found.items():
            self._network.remember(peer, [address])
        return answered and bool(found)

    async def _of(self, seed: str) -> dict[PeerId, str]:
        """Some of the nodes that one seed names, drawn at random. Raises NoAnswer when it itself gives no answer."""
        found: dict[PeerId, str] = {}
        names = deque([(seed, "", 0), (RECORDS_AT + seed, "", 0)])
        asked: set[tuple[str, str]] = set()
        while names and len(asked) < NAMES_MAX:
            name, ending, depth = names.popleft()
            if (name, ending) in asked:
                continue
            asked.add((name, ending))
            try:
                texts = (await self._dns.texts(name)).texts
            except NoAnswer:
                if depth == 0:
                    raise
                continue
            for address in read_records(texts):
                if (onward := further(address)) is not None:
                    if depth < RECURSION_MAX:
                        names.append((RECORDS_AT + onward.name, onward.ending or ending, depth + 1))
                elif address.endswith(ending) and (peer := _peer_of(address)) is not None:
                    found[peer] = address
        drawn = random.sample(sorted(found), min(len(found), ADDRESSES_MAX))
        return {peer: found[peer] for peer in drawn}


def _peer_of(address: str) -> PeerId | None:
    """None for what this node cannot dial: other transports stand beside those that it speaks."""
    try:
        return Address.parse(address).peer
    except BadAddress:
        return None
