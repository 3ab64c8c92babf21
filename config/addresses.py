"""Addresses in settings: host:port for HTTP, multiaddrs for libp2p, host names.

Only the forms that this program can use are taken; ValueError says what is wrong.
"""

from __future__ import annotations

import ipaddress
import re
from typing import NamedTuple

_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_PEER_ID = re.compile(r"[1-9A-HJ-NP-Za-km-z]{40,128}|[a-z0-9]{40,128}")


class HostPort(NamedTuple):
    """An IP address and a TCP port; `str` gives "127.0.0.1:8080" or "[::1]:8080"."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _parse_port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= 65535):
        raise ValueError(f"port must be a number from 0 to 65535, not {text!r}")
    return int(text)


def parse_host_port(text: str) -> HostPort:
    """ "127.0.0.1:8080", "[::1]:8080" or "localhost:8080" (which means 127.0.0.1)."""
    host, colon, port = text.rpartition(":")
    if not colon:
        raise ValueError(f'must be "host:port", such as "127.0.0.1:8080", not {text!r}')
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if bare == "localhost":
        bare = "127.0.0.1"
    try:
        address = ipaddress.ip_address(bare)
    except ValueError:
        raise ValueError(f"{host!r} is not an IP address (an IPv6 address goes in brackets)") from None
    if address.version == 6 and not host.startswith("["):
        raise ValueError(f'write the IPv6 address in brackets: "[{bare}]:{port}"')
    return HostPort(str(address), _parse_port(port))


def parse_address_range(text: str) -> str:
    """An IP address, or a range of them as "ADDRESS/BITS"."""
    try:
        found = ipaddress.ip_network(text)
    except ValueError as error:
        raise ValueError(f"must be an IP address or a range such as 10.0.0.0/8: {error}") from None
    return str(found) if "/" in text else str(found.network_address)


def parse_hostname(text: str) -> str:
    """A DNS name in lower case, without a trailing dot."""
    name = text.lower().removesuffix(".")
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in name.split(".")):
        raise ValueError(f"{text!r} is not a host name")
    return name


def _split_tcp(text: str) -> tuple[str, str, str, list[str]]:
    """Protocol, host, port, and what follows, of /PROTOCOL/HOST/tcp/PORT/…"""
    parts = text.split("/")
    if len(parts) < 5 or parts[0] or parts[3] != "tcp":
        raise ValueError(f'must be a multiaddr such as "/ip4/127.0.0.1/tcp/4101", not {text!r}')
    return parts[1], parts[2], parts[4], parts[5:]


def _check_host(text: str, protocol: str, host: str) -> None:
    if protocol in ("ip4", "ip6"):
        try:
            version = ipaddress.ip_address(host).version
        except ValueError:
            raise ValueError(f"{host!r} in {text!r} is not an IP address") from None
        if version != int(protocol[2]):
            raise ValueError(f"{text!r} says {protocol} and gives an IPv{version} address")
    elif protocol in ("dns", "dns4", "dns6"):
        parse_hostname(host)
    else:
        raise ValueError(f"{text!r} must start with /ip4/, /ip6/, /dns/, /dns4/ or /dns6/")


def check_listen_address(text: str) -> str:
    """/ip4/ADDRESS/tcp/PORT or /ip6/ADDRESS/tcp/PORT; port 0 lets the system choose."""
    protocol, host, port, rest = _split_tcp(text)
    if protocol not in ("ip4", "ip6") or rest:
        raise ValueError(f'must be "/ip4/ADDRESS/tcp/PORT" or "/ip6/ADDRESS/tcp/PORT", not {text!r}')
    _check_host(text, protocol, host)
    _parse_port(port)
    return text


def check_dial_address(text: str) -> str:
    """/ip4|ip6|dns|dns4|dns6/HOST/tcp/PORT/p2p/ID: the id makes sure that the right node answers."""
    protocol, host, port, rest = _split_tcp(text)
    _check_host(text, protocol, host)
    if _parse_port(port) == 0:
        raise ValueError(f"{text!r} has port 0, which nobody can dial")
    if len(rest) != 2 or rest[0] != "p2p" or not _PEER_ID.fullmatch(rest[1]):
        raise ValueError(f"{text!r} must end in /p2p/ID (fednode status on that node shows it)")
    return text
