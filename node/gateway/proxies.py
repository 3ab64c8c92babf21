"""What a proxy in front says of a request: believed if the proxy is a configured one, dropped otherwise. Pure."""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Sequence
from dataclasses import replace

from node.gateway.http1 import Request

FORWARDED = ("x-forwarded-proto", "x-forwarded-host", "x-forwarded-for", "forwarded")

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class TrustedProxies:
    """ranges: addresses, or ranges as ADDRESS/BITS."""

    def __init__(self, ranges: Sequence[str]) -> None:
        self._ranges: tuple[_Network, ...] = tuple(ipaddress.ip_network(text) for text in ranges)
        self._known = functools.lru_cache(maxsize=1024)(self._covers)

    def trusts(self, peer: str) -> bool:
        """peer: the address that the connection comes from."""
        return bool(self._ranges) and self._known(peer)

    def _covers(self, peer: str) -> bool:
        try:
            address = ipaddress.ip_address(peer.partition("%")[0])
        except ValueError:
            return False
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return any(address in network for network in self._ranges)

    def read(self, request: Request, peer: str) -> Request:
        """The request as its reader made it; headers about it from anybody else than a trusted proxy are gone.

        Of several values the last counts: it is the one that the nearest proxy added.
        """
        if not any(name in request.headers for name in FORWARDED):
            return request
        headers = {name: value for name, value in request.headers.items() if name not in FORWARDED}
        host = request.host
        if self.trusts(peer):
            proto = _last(request.headers.get("x-forwarded-proto")).lower()
            if proto in ("http", "https"):
                headers["x-forwarded-proto"] = proto
            host = _last(request.headers.get("x-forwarded-host")) or host
        return replace(request, headers=headers, host=host)

    def reader(self, request: Request, peer: str) -> str:
        """The address to count: the nearest one in X-Forwarded-For that is not a trusted proxy itself."""
        if not self.trusts(peer):
            return peer
        for part in reversed(request.headers.get("x-forwarded-for", "").split(",")):
            address = part.strip(" \t")
            try:
                ipaddress.ip_address(address)
            except ValueError:
                break
            if not self.trusts(address):
                return address
        return peer


def _last(value: str | None) -> str:
    return (value or "").rpartition(",")[2].strip(" \t")
