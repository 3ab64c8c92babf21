"""js-libp2p and go-libp2p connect, identify, ping, and open streams both ways, under load and with resets.

FEDNODE_IPFS_CLIENTS names the folder, as tests/integration/ipfs_clients.py says.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.integration.daemons import daemon_folder
from tests.integration.go_libp2p import GoNode
from tests.integration.ipfs_clients import CLIENTS, NODE, P2PD
from tests.integration.net_kit import NodeProcess

SCRIPT = Path(__file__).with_name("libp2p_client.mjs")

pytestmark = pytest.mark.large
needs_js = pytest.mark.skipif(not NODE.exists(), reason="no js-libp2p: see FEDNODE_IPFS_CLIENTS in this file")
needs_go = pytest.mark.skipif(not P2PD.exists(), reason="no go-libp2p: see FEDNODE_IPFS_CLIENTS in this file")


@pytest.fixture
def ours() -> Iterator[NodeProcess]:
    with NodeProcess() as node:
        yield node
        health = node.ask("health")
        assert (health["state"], health["restarts"]) == ("running", 0)


class JsNode:
    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        hello = self._read()
        self.peer: str = hello["peer"]
        self.addresses: list[str] = hello["addresses"]

    def ask(self, *words: object) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(" ".join(map(str, words)) + "\n")
        self._process.stdin.flush()
        answer = self._read()
        assert "error" not in answer, answer
        return answer["result"]

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        found: dict[str, Any] = json.loads(self._process.stdout.readline())
        return found


@contextmanager
def js_node() -> Iterator[JsNode]:
    command = [str(NODE), "--input-type=module", "-e", SCRIPT.read_text()]
    with subprocess.Popen(
        command, cwd=CLIENTS, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            yield JsNode(process)
        finally:
            process.kill()


@needs_js
def test_js_dials_us(ours: NodeProcess) -> None:
    with js_node() as theirs:
        found = theirs.ask("connect", ours.addresses[0])
        assert found["peer"] == ours.peer
        assert {"/echo/1", "/ipfs/id/1.0.0", "/ipfs/ping/1.0.0"} <= set(found["protocols"])
        assert found["muxer"] == "/yamux/1.0.0"
        assert theirs.ask("echo", ours.peer, 3_000_000)
        for _ in range(20):
            assert theirs.ask("reset", ours.peer)
        assert theirs.ask("many", ours.peer, 40)
        assert ours.ask(f"echo {theirs.peer}")


@needs_js
def test_we_dial_js(ours: NodeProcess) -> None:
    with js_node() as theirs:
        address = next(address for address in theirs.addresses if "127.0.0.1" in address)
        assert ours.ask(f"connect {address}") == theirs.peer
        for _ in range(20):
            assert ours.ask(f"echo {theirs.peer}")
        assert theirs.ask("many", ours.peer, 20)


@needs_go
@pytest.mark.parametrize("who", ["they dial", "we dial"])
def test_go_and_we(ours: NodeProcess, who: str) -> None:
    with daemon_folder() as folder, GoNode(P2PD, folder) as theirs:
        theirs.serve_echo("/echo/1")
        if who == "they dial":
            theirs.connect(ours.peer, ours.endpoint[1])
        else:
            assert ours.ask(f"connect {theirs.address}") == theirs.peer
        for _ in range(10):
            assert ours.ask(f"echo {theirs.peer}")
            theirs.open(ours.peer, "/echo/1").close()  # in the middle
        streams = [threading.Thread(target=check_echo, args=(theirs.open(ours.peer, "/echo/1"),)) for _ in range(20)]
        for thread in streams:
            thread.start()
        for thread in streams:
            thread.join(30)
        assert ECHOED.count(True) >= 20
        ECHOED.clear()


ECHOED: list[bool] = []


def check_echo(stream: socket.socket) -> None:
    with stream:
        sent = os.urandom(200_000)
        writer = threading.Thread(target=stream.sendall, args=(sent,))
        writer.start()
        received = b""
        while len(received) < len(sent) and (data := stream.recv(65536)):
            received += data
        writer.join(30)
        ECHOED.append(received == sent)
