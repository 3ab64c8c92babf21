"""A line between two daemons that can be slow, held up or cut: a TCP relay in threads of its own."""

from __future__ import annotations

import contextlib
import socket
import threading
import time

from tests.integration.own_network import enter_network

_CHUNK_BYTES = 64 * 1024
_STEP_S = 0.1


class Relay:
    """Carries every connection to `port` on 127.0.0.1; at most `bytes_per_s` in each direction of each, if given.

    hold_after_bytes: when so many were carried, no more are until `opened` is set.
    network: where that port is (tests/integration/own_network.py); the relay itself is in that of who makes it.
    """

    def __init__(
        self,
        port: int,
        *,
        bytes_per_s: float | None = None,
        hold_after_bytes: int | None = None,
        network: int | None = None,
    ) -> None:
        self._target = port
        self._hold_after_bytes = hold_after_bytes
        self._bytes_per_s = bytes_per_s
        self._network = network
        self._chunk_bytes = _CHUNK_BYTES if bytes_per_s is None else max(1, int(bytes_per_s * _STEP_S))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: set[socket.socket] = set()
        self._threads = [threading.Thread(target=self._accept)]
        self.carried_bytes = 0
        self.opened = threading.Event()
        self.port: int = self._listener.getsockname()[1]
        self._threads[0].start()

    def at(self, address: str) -> str:
        """The multiaddr of the same node, through the relay."""
        peer = address.rpartition("/p2p/")[2]
        return f"/ip4/127.0.0.1/tcp/{self.port}/p2p/{peer}"

    def cut(self) -> None:
        """Ends all connections; new ones are taken."""
        for one in list(self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.opened.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        if self._network is not None:
            enter_network(self._network)
        while True:
            try:
                here, _ = self._listener.accept()
            except OSError:
                return
            try:
                there = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                here.close()
                continue
            self._threads.append(threading.Thread(target=self._carry_both, args=(here, there)))
            self._threads[-1].start()

    def _carry_both(self, here: socket.socket, there: socket.socket) -> None:
        with here, there:
            self._open |= {here, there}
            back = threading.Thread(target=self._carry, args=(there, here))
            back.start()
            self._carry(here, there)
            back.join()
            self._open -= {here, there}

    def _carry(self, one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(self._chunk_bytes):
                if self._hold_after_bytes is not None and self.carried_bytes > self._hold_after_bytes:
                    self.opened.wait()
                other.sendall(data)
                self.carried_bytes += len(data)
                if self._bytes_per_s is not None:
                    time.sleep(len(data) / self._bytes_per_s)
        for end in (one, other):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def port_of(address: str) -> int:
    """Of a multiaddr of a daemon."""
    return int(address.split("/")[4])
