"""Where peers were said to be: bounded, newest first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from node.net.addresses import Address
from node.net.port import NetLimits, PeerId


class AddressBook:
    """The `NetLimits.peers_remembered` peers used last, each with `addresses_per_peer` addresses."""

    def __init__(self, local_peer: PeerId, limits: NetLimits) -> None:
        self._local_peer = local_peer
        self._limits = limits
        self._peers: OrderedDict[PeerId, list[Address]] = OrderedDict()

    def add(self, peer: PeerId, addresses: Iterable[Address]) -> None:
        """Put these first. Addresses that name another peer, or port 0, and those of oneself, are ignored."""
        fresh = self._usable(peer, addresses)
        self._set(peer, [*fresh, *self._peers.get(peer, ())])

    def add_claimed(self, peer: PeerId, addresses: Iterable[Address]) -> None:
        """Put these last, as far as there is room: a peer says them of itself, often behind a NAT."""
        self._set(peer, [*self._peers.get(peer, ()), *self._usable(peer, addresses)])

    def _usable(self, peer: PeerId, addresses: Iterable[Address]) -> list[Address]:
        return [address.at(peer) for address in addresses if address.peer in (None, peer) and address.port]

    def _set(self, peer: PeerId, addresses: list[Address]) -> None:
        if peer == self._local_peer or not addresses:
            return
        self._peers[peer] = list(dict.fromkeys(addresses))[: self._limits.addresses_per_peer]
        self._peers.move_to_end(peer)
        while len(self._peers) > self._limits.peers_remembered:
            self._peers.popitem(last=False)

    def of(self, peer: PeerId) -> list[Address]:
        """The addresses of this peer, newest first, each with the peer id."""
        found = self._peers.get(peer)
        if found is None:
            return []
        self._peers.move_to_end(peer)
        return list(found)
