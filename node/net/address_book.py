"""Where peers are, or were said to be: bounded; where they were reached comes first, then the newest."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from node.net.addresses import Address
from node.net.port import NetLimits, PeerId

# Of one peer: one that moves about is tried at a few old places, one after the other, before those that it is said at.
REACHED_MAX = 4

Table = OrderedDict[PeerId, list[Address]]


class AddressBook:
    """The `NetLimits.peers_remembered` peers used last, each with `addresses_per_peer` addresses.

    What others tell drives out nothing but what others told: where this node reached a peer has places of its own.
    """

    def __init__(self, local_peer: PeerId, limits: NetLimits) -> None:
        self._local_peer = local_peer
        self._limits = limits
        self._reached: Table = OrderedDict()
        self._told: Table = OrderedDict()

    def add(self, peer: PeerId, addresses: Iterable[Address]) -> None:
        """Put these before what was told before. Addresses that name another peer, or port 0, and those of oneself,
        are ignored."""
        self._set(self._told, peer, [*self._usable(peer, addresses), *self._told.get(peer, ())])

    def add_claimed(self, peer: PeerId, addresses: Iterable[Address]) -> None:
        """Put these last, as far as there is room: a peer says them of itself, often behind a NAT."""
        self._set(self._told, peer, [*self._told.get(peer, ()), *self._usable(peer, addresses)])

    def add_reached(self, peer: PeerId, addresses: Iterable[Address]) -> None:
        """The peer proved its key there. Only the last REACHED_MAX are told apart from others."""
        self._set(self._reached, peer, [*self._usable(peer, addresses), *self._reached.get(peer, ())], REACHED_MAX)

    def _usable(self, peer: PeerId, addresses: Iterable[Address]) -> list[Address]:
        return [address.at(peer) for address in addresses if address.peer in (None, peer) and address.port]

    def _set(self, table: Table, peer: PeerId, addresses: list[Address], most: int | None = None) -> None:
        if peer == self._local_peer or not addresses:
            return
        table[peer] = list(dict.fromkeys(addresses))[: min(self._limits.addresses_per_peer, most or len(addresses))]
        table.move_to_end(peer)
        while len(table) > self._limits.peers_remembered:
            table.popitem(last=False)

    def of(self, peer: PeerId) -> list[Address]:
        """Where this peer was reached, the latest first, then where it was told to be, each with the peer id."""
        found: list[Address] = []
        for table in (self._reached, self._told):
            if peer in table:
                table.move_to_end(peer)
                found += table[peer]
        return list(dict.fromkeys(found))[: self._limits.addresses_per_peer]
