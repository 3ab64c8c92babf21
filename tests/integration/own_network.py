"""A network namespace of one's own, in which all that is counted on loopback is of this test."""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def own_network() -> Iterator[None]:
    """For this thread, and for the threads and processes that it starts. Skips the test where that is not allowed."""
    before = current_network()
    try:
        if not leave_network():
            pytest.skip("needs the right to make a network namespace: run as root")
        yield
    finally:
        enter_network(before)
        os.close(before)


def leave_network() -> bool:
    """For an empty one, with loopback; False without the right to."""
    if os.geteuid() != 0 or _libc.unshare(_CLONE_NEWNET) != 0:
        return False
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    return True


def current_network() -> int:
    """A descriptor of the namespace that this thread is in."""
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY)


def enter_network(descriptor: int) -> None:
    """For this thread alone."""
    if _libc.setns(descriptor, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "cannot enter the network namespace")


def moved_bytes() -> int:
    """What loopback has carried since it began, headers included."""
    for line in Path("/proc/thread-self/net/dev").read_text().splitlines():
        name, _, fields = line.partition(":")
        if name.strip() == "lo":
            return int(fields.split()[8])
    raise OSError("no loopback device")
