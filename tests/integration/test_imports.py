"""An import from the IPFS network that is cut off by kill -9 goes on by itself when the daemon is started again."""

from __future__ import annotations

import random
import selectors
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from cli.demo.nodes import fednode
from tests.integration.daemons import Daemon, Site, daemon_folder, eventually

pytestmark = [pytest.mark.integration]
MIB = 1024 * 1024
FILES = 40
LET_THROUGH_BYTES = 22 * MIB
IN_MEMORY_BYTES = 9 * MIB
"""Of what was received when the process dies: a batch of 8 MiB that fills, and a block on its way into it."""


class Valve:
    """A TCP proxy on loopback that lets so many bytes of the server through, and then none until it is opened."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._left = LET_THROUGH_BYTES
        self._ended = threading.Event()
        self.opened = threading.Event()

    def run(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._port))
                threading.Thread(target=self._forward, args=(client, server), daemon=True).start()

    def _forward(self, client: socket.socket, server: socket.socket) -> None:
        with client, server, selectors.DefaultSelector() as waiting, suppress(OSError):
            for source, target in ((client, server), (server, client)):
                waiting.register(source, selectors.EVENT_READ, target)
            while not self._ended.is_set():
                for key, _ in waiting.select(0.2):
                    asked = client if key.fileobj is client else server
                    data = asked.recv(65_536)
                    if not data:
                        return
                    if asked is server and not self.opened.is_set():
                        self._left -= len(data)
                        if self._left < 0:
                            waiting.unregister(server)
                            continue
                    key.data.sendall(data)

    def close(self) -> None:
        self._ended.set()
        self._listener.close()


@contextmanager
def valve(port: int) -> Iterator[Valve]:
    found = Valve(port)
    threading.Thread(target=found.run, daemon=True).start()
    try:
        yield found
    finally:
        found.close()


def ended(daemon: Daemon, number: int) -> dict[str, Any]:
    with daemon.admin() as client:
        found = client.show_import(number)
    assert found["state"] not in ("resolving", "fetching")
    return found


def test_an_import_that_was_killed_goes_on_at_the_next_start(tmp_path: Path) -> None:
    rng = random.Random(11)
    site = Site(tmp_path)
    for number in range(FILES):
        site.write(f"{number}.bin", rng.randbytes(MIB))
    with daemon_folder() as folder:
        source = Daemon("source", folder)
        target = Daemon("target", folder, hosting_mode="none")
        try:
            source.start()
            target.start()
            root = site.publish(source)["root"]
            _, _, _, _, port, _, peer = source.address.split("/")
            with valve(int(port)) as slow:
                address = f"/ip4/127.0.0.1/tcp/{slow.port}/p2p/{peer}"
                with target.admin() as client:
                    number = client.start_import(f"/ipfs/{root}", [address])["number"]

                    def half_is_here() -> int:
                        found = client.show_import(number)
                        assert found["received_bytes"] >= LET_THROUGH_BYTES - 2 * MIB, found
                        assert found["size_bytes"] >= found["received_bytes"] - IN_MEMORY_BYTES, found
                        return int(found["size_bytes"])

                    written_bytes = eventually(half_is_here)
                target.kill()
                slow.opened.set()
                target.start()
                (resumed,) = fednode("imports", *target.at)["imports"]
                assert (resumed["target"], resumed["resumed"]) == (f"/ipfs/{root}", True)
                found = eventually(lambda: ended(target, resumed["number"]))
            assert found["state"] == "done"
            assert found["size_bytes"] > FILES * MIB
            assert written_bytes >= LET_THROUGH_BYTES - 2 * MIB - IN_MEMORY_BYTES
            assert 0 < found["received_bytes"] <= found["size_bytes"] - written_bytes
        finally:
            source.stop()
            target.stop()
