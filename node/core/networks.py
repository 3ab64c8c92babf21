"""Which part of a node's address its provider chose: nodes that share it may fail, or lie, together. Pure."""

import ipaddress
from collections.abc import Iterable

PRIVATE = "private"


def network_of(addresses: Iterable[str], *, among_private: bool) -> str:
    """The network of a node by the first of its multiaddrs that is an IP address: 16 bits of IPv4, 32 of IPv6.

    Private and loopback addresses say nothing about providers: where all nodes have such (`among_private`), "" is
    their network; elsewhere they all count as one, or anybody could get out of his network by stating one.
    """
    for address in addresses:
        parts = address.split("/")
        if len(parts) < 3 or parts[1] not in ("ip4", "ip6"):
            continue
        try:
            ip = ipaddress.ip_address(parts[2])
        except ValueError:
            continue
        if not ip.is_global:
            return "" if among_private else PRIVATE
        bits = 16 if ip.version == 4 else 32
        return str(ipaddress.ip_network((ip, bits), strict=False))
    return "" if among_private else PRIVATE
