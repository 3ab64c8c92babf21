"""Listening sockets: bound once for the life of a network, so that what is behind them can restart."""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections.abc import Iterable

import trio

from node.net.addresses import Address
from node.net.port import BadAddress, ListenFailed

_BACKLOG = 256
_EXAMPLE_HINT = "use an address like /ip4/127.0.0.1/tcp/4101"
_WHY = {
    errno.EADDRINUSE: ("another program listens there", "stop it, or choose another port"),
    errno.EACCES: ("the system does not allow it", "choose a port above 1023"),
    errno.EADDRNOTAVAIL: (
        "this machine has no such address",
        "use one of its own addresses, or /ip4/0.0.0.0",
    ),
}


async def bind_all(listen: Iterable[str]) -> list[trio.SocketListener]:
    """A listening socket for each multiaddr. Raises ListenFailed, with nothing left bound."""
    listeners: list[trio.SocketListener] = []
    try:
        for text in listen:
            listeners.append(await _bind(text))
    except BaseException:
        close_all(listeners)
        raise
    return listeners


def check_announced(announce: Iterable[str]) -> None:
    """Raises ListenFailed for an address that could not be told to others."""
    for text in announce:
        try:
            Address.parse(text)
        except BadAddress as exc:
            raise ListenFailed(f"cannot announce {text}: {exc}", hint=_EXAMPLE_HINT) from exc


def close_all(listeners: Iterable[trio.SocketListener]) -> None:
    for listener in listeners:
        listener.socket.close()


async def _bind(text: str) -> trio.SocketListener:
    try:
        address = Address.parse(text)
    except BadAddress as exc:
        raise ListenFailed(f"cannot listen on {text}: {exc}", hint=_EXAMPLE_HINT) from exc
    if address.kind not in ("ip4", "ip6") or address.peer is not None:
        raise ListenFailed(
            f"cannot listen on {text}: not a plain IP address",
            hint=_EXAMPLE_HINT,
        )
    family = socket.AF_INET if address.kind == "ip4" else socket.AF_INET6
    sock = trio.socket.socket(family, socket.SOCK_STREAM)
    try:
        # REUSEADDR so that a restart need not wait out TIME_WAIT; REUSEPORT would share the port silently
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        await sock.bind((address.host, address.port))
        sock.listen(_BACKLOG)
    except OSError as exc:
        sock.close()
        why, hint = _WHY.get(exc.errno or 0, (str(exc), None))
        raise ListenFailed(f"cannot listen on {text}: {why}", hint=hint) from exc
    return trio.SocketListener(sock)


def dialable(listeners: Iterable[trio.SocketListener]) -> list[Address]:
    """Addresses that lead to these sockets; a wildcard becomes the outgoing address and loopback."""
    found: list[Address] = []
    for listener in listeners:
        host, port = listener.socket.getsockname()[:2]
        if ipaddress.ip_address(host).is_unspecified:
            found += [Address.of_socket((ip, port)) for ip in _own_addresses(listener.socket.family)]
        else:
            found.append(Address.of_socket((host, port)))
    return found


def _own_addresses(family: int) -> list[str]:
    loopback, elsewhere = ("127.0.0.1", "192.0.2.1") if family == socket.AF_INET else ("::1", "2001:db8::1")
    addresses = [loopback]
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((elsewhere, 9))  # chooses a route and a source address; sends nothing
            own = str(probe.getsockname()[0])
        except OSError:
            return addresses
    return [own, *addresses] if own not in addresses else addresses
