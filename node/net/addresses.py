"""The multiaddrs that fednode speaks, as text: `/ip4|ip6|dns|dns4|dns6/HOST/tcp/PORT[/p2p/PEER]`.

A strict parser of our own, so that the CLI and the config can check an address without importing libp2p.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal, cast

from node.net.peer_ids import parse_peer_id
from node.net.port import BadAddress, PeerId

HostKind = Literal["ip4", "ip6", "dns", "dns4", "dns6"]
_HOST_KINDS = ("ip4", "ip6", "dns", "dns4", "dns6")
_ADDRESS_MAX_CHARS = 512
_LOCAL_NAMES = ("localhost", "local", "internal", "lan", "home", "test")  # the last labels of names that are not public
_HOST_NAME = re.compile(r"(?=.{1,253}\.?$)(?!-)[A-Za-z0-9_-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9_-]{1,63}(?<!-))*\.?")
_PORT = re.compile(r"0|[1-9][0-9]{0,4}")


@dataclass(frozen=True, slots=True)
class Address:
    """A TCP endpoint and, when `peer` is set, who must be found there. `str()` is the canonical text."""

    kind: HostKind
    host: str
    port: int
    peer: PeerId | None = None

    @classmethod
    def parse(cls, text: str) -> Address:
        """Raises BadAddress, whose message says what is wrong."""
        if len(text) > _ADDRESS_MAX_CHARS:
            raise BadAddress(f"multiaddr of {len(text)} characters")
        parts = text.split("/")
        if len(parts) not in (5, 7) or parts[0] or parts[1] not in _HOST_KINDS or parts[3] != "tcp":
            raise BadAddress(
                f"not a TCP multiaddr: {text!r}",
                hint="write it as /ip4/203.0.113.7/tcp/4101/p2p/ID or /dns4/example.org/tcp/4101/p2p/ID",
            )
        kind = cast(HostKind, parts[1])
        peer = None
        if len(parts) == 7:
            if parts[5] not in ("p2p", "ipfs"):
                raise BadAddress(f"unknown part /{parts[5]} in {text!r}")
            peer = parse_peer_id(parts[6])
        return cls(kind, _parse_host(kind, parts[2]), _parse_port(parts[4]), peer)

    @classmethod
    def of_socket(cls, name: tuple[str, int]) -> Address:
        """The address of a socket name; an IPv4 address that came in over IPv6 is written as IPv4."""
        ip = ipaddress.ip_address(name[0].partition("%")[0])
        if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
            ip = ip.ipv4_mapped
        return cls("ip4" if ip.version == 4 else "ip6", str(ip), name[1])

    @property
    def is_public(self) -> bool:
        """Whether it means the same everywhere: not a loopback, private, link-local or reserved IP, nor such a name."""
        if self.kind in ("ip4", "ip6"):
            return ipaddress.ip_address(self.host).is_global
        name = self.host.rstrip(".").lower()
        return "." in name and name.rpartition(".")[2] not in _LOCAL_NAMES

    def at(self, peer: PeerId) -> Address:
        """The same endpoint, with this peer expected there."""
        return replace(self, peer=peer)

    def __str__(self) -> str:
        end = "" if self.peer is None else f"/p2p/{self.peer}"
        return f"/{self.kind}/{self.host}/tcp/{self.port}{end}"


@lru_cache(4096)
def is_public(text: str) -> bool:
    """`Address.is_public` of a multiaddr that was parsed before: DHT answers hold hundreds, mostly the same."""
    return Address.parse(text).is_public


def _parse_host(kind: HostKind, host: str) -> str:
    try:
        if kind == "ip4":
            return str(ipaddress.IPv4Address(host))
        if kind == "ip6":
            return str(ipaddress.IPv6Address(host))
    except ValueError:
        raise BadAddress(f"not an {'IPv4' if kind == 'ip4' else 'IPv6'} address: {host!r}") from None
    if not _HOST_NAME.fullmatch(host):
        raise BadAddress(f"not a host name: {host!r}")
    return host.lower()


def _parse_port(port: str) -> int:
    if not _PORT.fullmatch(port) or int(port) > 65535:
        raise BadAddress(f"not a TCP port: {port!r}")
    return int(port)
