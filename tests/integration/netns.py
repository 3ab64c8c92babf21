"""Machines of the tests' own: network namespaces on lines that delay, lose and part.

Each namespace has one address and one TUN device; `Lines` carries the packets between them. It does what tc netem
does, where the kernel need not have netem (those of many small virtual machines lack it), and the same everywhere.
Needs root, iproute2 and /dev/net/tun.
"""

from __future__ import annotations

import ctypes
import fcntl
import heapq
import os
import random
import selectors
import struct
import subprocess
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from cli.demo.nodes import Answer
from tests.integration.daemons import Daemon

_CLONE_NEWNET = 0x40000000
_TUNSETIFF = 0x400454CA
_IFF_TUN_NO_PI = 0x1001
# Large packets, or a line would carry little: each costs some 50 us here.
MTU = 9000
_IPV4_TARGET = slice(16, 20)
# What waits on all lines together; a queue that is full loses packets, as a router's does.
_WAITING_MAX = 20_000
_RECEIVE_AT_ONCE = 64


def why_not() -> str:
    """What is missing here, or ""."""
    if os.geteuid() != 0:
        return "needs root, to make network namespaces"
    if not os.path.exists("/dev/net/tun"):
        return "needs /dev/net/tun (modprobe tun)"
    try:
        Namespace("fednode-probe", "1.2.3.4").remove()
    except (OSError, subprocess.CalledProcessError) as error:
        return f"needs network namespaces, TUN devices and iproute2 (apt-get install iproute2): {error}"
    return ""


class Namespace:
    """One machine as far as the network goes. Created at once; `remove` it."""

    def __init__(self, name: str, address: str) -> None:
        self.name = name
        self.address = address
        _run("ip", "netns", "add", name)
        try:
            with self.inside():
                self.tun = _open_tun()
                _run("ip", "link", "set", "lo", "up")
                _run("ip", "address", "add", f"{address}/32", "dev", "line")
                _run("ip", "link", "set", "line", "mtu", str(MTU), "up")
                _run("ip", "route", "add", "default", "dev", "line")
        except (OSError, subprocess.CalledProcessError):
            self.remove()
            raise

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Sockets that this thread opens and processes that it starts meanwhile are in the namespace."""
        with open("/proc/thread-self/ns/net", "rb") as before, open(f"/run/netns/{self.name}", "rb") as there:
            _enter(there.fileno())
            try:
                yield
            finally:
                _enter(before.fileno())

    def remove(self) -> None:
        with suppress(AttributeError, OSError):
            os.close(self.tun)
        subprocess.run(["ip", "netns", "delete", self.name], check=False, capture_output=True)


@dataclass(slots=True)
class Line:
    """What happens to packets that one machine sends. loss: a share of them. Other sides are out of reach."""

    delay_s: float = 0.0
    jitter_s: float = 0.0
    loss: float = 0.0
    side: int = 0
    _last_s: float = 0.0

    def arrival_s(self, now_s: float, rng: random.Random) -> float:
        """Later than that of the packet before: jitter puts nothing out of order."""
        self._last_s = max(self._last_s, now_s + self.delay_s + rng.uniform(0, self.jitter_s))
        return self._last_s


class Lines:
    """Carries packets between namespaces, in a thread. Lines may be changed at any time."""

    def __init__(self, namespaces: Collection[Namespace], seed: int = 1) -> None:
        self.lines = {namespace.name: Line() for namespace in namespaces}
        self._by_address = {_packed(namespace.address): namespace for namespace in namespaces}
        self._rng = random.Random(seed)
        self._waiting: list[tuple[float, int, int, bytes]] = []
        self._number = 0
        self._stopping = threading.Event()
        self._selector = selectors.DefaultSelector()
        for namespace in namespaces:
            os.set_blocking(namespace.tun, False)
            self._selector.register(namespace.tun, selectors.EVENT_READ, self.lines[namespace.name])
        self._thread = threading.Thread(target=self._carry, name="lines", daemon=True)

    def __enter__(self) -> Lines:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()
        self._selector.close()

    def shape(self, *, delay_s: float, jitter_s: float = 0.0, loss: float = 0.0) -> None:
        """All lines; each packet passes one, so a round trip takes twice delay_s."""
        for line in self.lines.values():
            line.delay_s, line.jitter_s, line.loss = delay_s, jitter_s, loss

    def part(self, *sides: Collection[str]) -> None:
        """Machines reach only those of their own side; without arguments, all reach all again."""
        for name, line in self.lines.items():
            line.side = next((number for number, side in enumerate(sides, 1) if name in side), 0)

    def _carry(self) -> None:
        while not self._stopping.is_set():
            wait_s = self._waiting[0][0] - time.monotonic() if self._waiting else 0.2
            for key, _ in self._selector.select(min(max(wait_s, 0.0), 0.2)):
                self._receive(key.fd, key.data)
            now_s = time.monotonic()
            while self._waiting and self._waiting[0][0] <= now_s:
                *_, tun, packet = heapq.heappop(self._waiting)
                with suppress(OSError):  # a queue in the kernel is full, or the machine is gone: the packet is lost
                    os.write(tun, packet)

    def _receive(self, tun: int, line: Line) -> None:
        for _ in range(_RECEIVE_AT_ONCE):
            try:
                packet = os.read(tun, MTU + 100)
            except OSError:
                return
            target = self._by_address.get(packet[_IPV4_TARGET]) if packet[0] >> 4 == 4 else None
            if target is None or self.lines[target.name].side != line.side or len(self._waiting) >= _WAITING_MAX:
                continue
            if self._rng.random() >= line.loss:
                self._number += 1
                arrival_s = line.arrival_s(time.monotonic(), self._rng)
                heapq.heappush(self._waiting, (arrival_s, self._number, target.tun, packet))


class PlacedDaemon(Daemon):
    """A daemon in a namespace, reached by other nodes at the namespace's address."""

    def __init__(
        self,
        namespace: Namespace,
        folder: Path,
        *,
        bootstrap: str | None,
        environment: dict[str, str] | None = None,
        **settings: str,
    ) -> None:
        super().__init__(namespace.name, folder, bootstrap=bootstrap, **settings)
        self.namespace = namespace
        self.p2p = f"/ip4/{namespace.address}/tcp/4101"
        self._environment |= environment or {}

    def start(self) -> None:
        with self.namespace.inside():
            super().start()

    def get(self, site: str, path: str) -> Answer:
        with self.namespace.inside():
            return super().get(site, path)


def _open_tun() -> int:
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    fcntl.ioctl(tun, _TUNSETIFF, struct.pack("16sH", b"line", _IFF_TUN_NO_PI))
    return tun


def _packed(address: str) -> bytes:
    return bytes(int(part) for part in address.split("."))


def _enter(namespace: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(namespace, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
