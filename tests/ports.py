"""A port for a program that cannot let the system choose one."""

from __future__ import annotations

import random
import socket
from pathlib import Path

_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_random = random.SystemRandom()  # the tests' own is the same in every process


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody has.

    It is none of those that the system gives to connections, one of which could take it before the program does.
    """
    first_of_the_systems = int(_RANGE.read_text().split()[0])
    while True:
        port = _random.randrange(10_000, max(first_of_the_systems, 10_100))
        with socket.socket() as sock:
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
