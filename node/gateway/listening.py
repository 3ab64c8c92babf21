"""The addresses that readers connect to.

The daemon binds them, once, and hands the same listening sockets to all workers; a daemon that follows one that died
has them from the workers that are left (handover.py). So an address that is in use is
found out at start, port 0 has one answer, and a worker that dies takes no waiting connection with it: with one
SO_REUSEPORT socket per worker, the kernel would go on queueing readers for the dead one
(docs/adr/0007-one-listening-socket-for-all-workers.md).
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import socket
from collections.abc import Iterator, Sequence
from typing import ClassVar

from config.addresses import HostPort, parse_host_port
from protocol.errors import OperatorError

BACKLOG = 1024  # connections that wait to be accepted; the kernel caps it at net.core.somaxconn


class CannotListen(OperatorError):
    """An address for readers cannot be had."""

    code: ClassVar[str] = "cannot-listen"


@contextlib.contextmanager
def listening_sockets(
    addresses: Sequence[str], inherited: Sequence[socket.socket] = ()
) -> Iterator[list[socket.socket]]:
    """Listening, non-blocking sockets for "host:port" addresses, closed at the end. Raises CannotListen.

    inherited: those of an earlier daemon, of which copies are used where they fit.
    """
    with contextlib.ExitStack() as stack:
        sockets = []
        for address in map(parse_host_port, addresses):
            heir = _that_fits(address, inherited)
            sockets.append(stack.enter_context(contextlib.closing(heir.dup() if heir else _listen(address))))
        yield sockets


def fit(addresses: Sequence[str], inherited: Sequence[socket.socket]) -> bool:
    """Nothing is left to bind."""
    return all(_that_fits(parse_host_port(text), inherited) for text in addresses)


def _that_fits(address: HostPort, inherited: Sequence[socket.socket]) -> socket.socket | None:
    for listener in inherited:
        host, port = listener.getsockname()[:2]
        if ipaddress.ip_address(host) == ipaddress.ip_address(address.host) and address.port in (0, port):
            return listener
    return None


def bound_address(listener: socket.socket) -> str:
    """ "host:port" with the real port."""
    host, port = listener.getsockname()[:2]
    return str(HostPort(host, port))


def _listen(address: HostPort) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        listener = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    except OSError as error:
        raise _cannot(address, error) from error
    try:
        # A restart must not wait for the old connections; with a living listener it changes nothing on Linux.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((address.host, address.port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise _cannot(address, error) from error
    return listener


def _cannot(address: HostPort, error: OSError) -> CannotListen:
    hints = {
        errno.EADDRINUSE: "another program, perhaps another node, listens there; "
        "stop it or choose another address (gateway.listen)",
        errno.EACCES: "ports below 1024 need a privilege: choose a higher one, or give the service "
        "CAP_NET_BIND_SERVICE",
        errno.EADDRNOTAVAIL: "this machine has no such address; gateway.listen takes its own addresses",
    }
    return CannotListen(f"cannot listen at {address} for readers: {error.strerror}", hint=hints.get(error.errno or 0))
