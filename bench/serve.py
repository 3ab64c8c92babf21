"""Readers: the gateway beside nginx and Python's own http.server, the same files, one run, ratios.

./dev bench serve     needs wrk; nginx is left out when it is not installed

CPU a request is the steadier column where other work runs on the machine; compare rows of one run only.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocol.site_id import SiteId
from tests.integration.test_gateway_workers import running_gateway
from tests.unit.gateway.sites import publish

SECONDS = 4
CONNECTIONS = 32
FILES = {"4k.html": 4_000, "100k.png": 100_000, "64m.bin": 64 * 1024 * 1024}
NGINX = """daemon off; worker_processes 1; error_log stderr crit; pid {folder}/nginx.pid;
events {{ worker_connections 1024; }}
http {{
    access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000;
    server {{ listen 127.0.0.1:{port}; root {root}; }}
}}
"""


@dataclass(frozen=True)
class Server:
    name: str
    port: int
    host: str
    pids: list[int]


def main() -> None:
    if shutil.which("wrk") is None:
        sys.exit("error: wrk is needed (apt-get install wrk)")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.chmod(0o755)  # nginx reads as another user
        root = folder / "site"
        root.mkdir()
        rng = random.Random(1)
        for name, size in FILES.items():
            (root / name).write_bytes(rng.randbytes(size))
        servers = [stack.enter_context(gateway(folder, root)), stack.enter_context(http_server(root))]
        if shutil.which("nginx"):
            servers.append(stack.enter_context(nginx(folder, root)))
        print(f"{'file':10} {'server':14} {'requests/s':>10} {'us CPU/request':>15} {'to gateway':>11}")
        for name in FILES:
            measure_all(name, servers)


def measure_all(name: str, servers: list[Server]) -> None:
    rows = [(server, *measure(server, name)) for server in servers]
    base = rows[0][2]
    for server, rate, cpu_us in rows:
        print(f"{name:10} {server.name:14} {rate:10.0f} {cpu_us:15.0f} {cpu_us / base:10.2f}x")


def measure(server: Server, name: str) -> tuple[float, float]:
    """Requests a second, and CPU microseconds for each."""
    before = sum(map(cpu_s, server.pids))
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", "--timeout", "60s", "-H", f"Host: {server.host}"]
    url = f"http://127.0.0.1:{server.port}/{name}"
    text = subprocess.run([*command, url], check=True, capture_output=True, text=True).stdout
    assert "Non-2xx" not in text, text
    matched = re.search(r"Requests/sec:\s+([0-9.]+)", text)
    transferred = re.search(r"([0-9.]+)(KB|MB|GB) read", text)
    assert matched is not None
    assert transferred is not None
    bytes_read = float(transferred[1]) * {"KB": 2**10, "MB": 2**20, "GB": 2**30}[transferred[2]]
    requests = bytes_read / FILES[name]  # counts the parts of large files, too
    return requests / SECONDS, (sum(map(cpu_s, server.pids)) - before) / requests * 1e6


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def gateway(folder: Path, root: Path) -> Iterator[Server]:
    """One worker, over a store that holds the files."""
    key = Ed25519PrivateKey.generate()
    command = [sys.executable, "-m", "bench.serve", str(folder / "data"), str(root), key.private_bytes_raw().hex()]
    with running(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port, pid = map(int, process.stdout.readline().split())
        yield Server("fednode", port, f"{SiteId.of(key)}.ipns.localhost:{port}", [pid])


async def gateway_alone(directory: str, root: str, key_hex: str) -> None:
    """What the process behind `gateway` does, until it is killed."""
    async with running_gateway(Path(directory)) as running:
        key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(key_hex))
        publish(running.store, key, {name: (Path(root) / name).read_bytes() for name in FILES})
        print(running.port, running.pids[0], flush=True)
        await trio.sleep_forever()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def wait_for_port(port: int) -> None:
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise TimeoutError(f"nothing listens at port {port}")


@contextmanager
def http_server(root: Path) -> Iterator[Server]:
    port = free_port()
    command = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1", "--protocol", "HTTP/1.1"]
    with running(command, cwd=root, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        wait_for_port(port)
        yield Server("http.server", port, "localhost", [process.pid])


@contextmanager
def nginx(folder: Path, root: Path) -> Iterator[Server]:
    port = free_port()
    config = folder / "nginx.conf"
    config.write_text(NGINX.format(folder=folder, port=port, root=root))
    with running(["nginx", "-c", str(config), "-p", str(folder)]) as process:
        wait_for_port(port)
        workers = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True).stdout
        yield Server("nginx", port, "localhost", [int(pid) for pid in workers.split()])


@contextmanager
def running(command: list[str], **options: Any) -> Iterator[subprocess.Popen[Any]]:
    with subprocess.Popen(command, **options) as process:
        try:
            yield process
        finally:
            process.terminate()
            process.wait(10)


if __name__ == "__main__":
    if len(sys.argv) == 4:
        trio.run(gateway_alone, sys.argv[1], sys.argv[2], sys.argv[3])
    else:
        main()
