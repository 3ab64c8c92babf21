"""Which inbound connections are let in: caps in all, per network address, and on those in handshake."""

from __future__ import annotations

import ipaddress
from collections import Counter

from node.net.port import NetLimits


class Admission:
    """Pure counting. Each `enter` that returned True must be followed by one `leave`."""

    def __init__(self, limits: NetLimits) -> None:
        self._limits = limits
        self._per_address: Counter[str] = Counter()
        self.inbound = 0
        self.outbound = 0
        self.handshakes = 0

    def only_handshakes_are_full(self, host: str) -> bool:
        """Whether a connection from this address would be let in, were fewer others in mid-handshake."""
        return (
            self.handshakes >= self._limits.handshakes
            and self.inbound < self._limits.inbound_connections
            and self.inbound + self.outbound < self._limits.connections
            and self._per_address[group_of(host)] < self._limits.connections_per_address
        )

    def enter(self, host: str) -> bool:
        """Whether an inbound connection from this IP address may begin its handshake."""
        group = group_of(host)
        if (
            self.inbound >= self._limits.inbound_connections
            or self.inbound + self.outbound >= self._limits.connections
            or self.handshakes >= self._limits.handshakes
            or self._per_address[group] >= self._limits.connections_per_address
        ):
            return False
        self._per_address[group] += 1
        self.inbound += 1
        self.handshakes += 1
        return True

    def proved(self) -> None:
        """One inbound connection proved its key."""
        self.handshakes -= 1

    def leave(self, host: str, *, proved: bool) -> None:
        group = group_of(host)
        self._per_address[group] -= 1
        if not self._per_address[group]:
            del self._per_address[group]
        self.inbound -= 1
        if not proved:
            self.handshakes -= 1

    def enter_outbound(self) -> bool:
        if self.inbound + self.outbound >= self._limits.connections:
            return False
        self.outbound += 1
        return True

    def leave_outbound(self) -> None:
        self.outbound -= 1


def group_of(host: str) -> str:
    """One IPv4 address, or the /64 that one IPv6 customer commonly gets."""
    ip = ipaddress.ip_address(host)
    if ip.version == 4:
        return str(ip)
    return str(ipaddress.IPv6Network((ip, 64), strict=False))
