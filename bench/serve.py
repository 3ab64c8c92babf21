"""Readers: the gateway beside nginx, Caddy's file server and hypercorn on trio: the same files, one run, ratios.

./dev bench serve     needs wrk; nginx and Caddy are left out when they are not installed

Each server has core 0 to itself, the client the others. CPU a request is the steadier column where other work runs on
the machine; compare rows of one run only. "cold" is the first request for each of 50 files that nobody asked for
before; "crawl" is 5,000 pages, each once, over one connection.
"""

from __future__ import annotations

import http.client
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
from tests.unit.gateway.sites import Tree, publish

SECONDS = 4
CONNECTIONS = 32
FILES = {"4k.html": 4_000, "100k.png": 100_000, "64m.bin": 64 * 1024 * 1024}
COLD = {f"cold/{size}/{n}.bin": size for size in (4_000, 100_000) for n in range(50)}
CRAWL = {f"pages/{n // 100}/{n}.html": 6_000 for n in range(5000)}
NGINX = """daemon off; worker_processes 1; error_log stderr crit; pid {folder}/nginx.pid;
events {{ worker_connections 1024; }}
http {{
    access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000;
    server {{ listen 127.0.0.1:{port}; root {root}; }}
}}
"""


CADDY = """{{
    admin off
    auto_https off
}}
:{port} {{
    bind 127.0.0.1
    root * {root}
    file_server
}}
"""
HYPERCORN = """
import sys, trio
from hypercorn.config import Config
from hypercorn.trio import serve
from starlette.applications import Starlette
from starlette.staticfiles import StaticFiles

config = Config()
config.bind = [f"127.0.0.1:{sys.argv[1]}"]
app = Starlette()
app.mount("/", StaticFiles(directory=sys.argv[2]))
trio.run(serve, app, config)
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
        for name, size in (FILES | COLD | CRAWL).items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(rng.randbytes(size))
        servers = [stack.enter_context(gateway(folder, root)), stack.enter_context(hypercorn(root))]
        if shutil.which("nginx"):
            servers.append(stack.enter_context(nginx(folder, root)))
        if shutil.which("caddy"):
            servers.append(stack.enter_context(caddy(folder, root)))
        for server in servers:
            for pid in server.pids:
                os.sched_setaffinity(pid, {0})
        print(f"{'file':10} {'server':12} {'requests/s':>10} {'us CPU/request':>15} {'p50 ms':>8} {'p99 ms':>8}")
        for name in FILES:
            for server in servers:
                show(name, server, *measure(server, name))
        for size in (4_000, 100_000):
            for server in servers:
                show(
                    f"cold {size // 1000}k", server, *one_by_one(server, [name for name in COLD if COLD[name] == size])
                )
        for server in servers:
            show("crawl", server, *one_by_one(server, list(CRAWL)))


def show(what: str, server: Server, rate: float, cpu_us: float, p50_ms: float, p99_ms: float) -> None:
    print(f"{what:10} {server.name:12} {rate:10.0f} {cpu_us:15.0f} {p50_ms:8.2f} {p99_ms:8.2f}")


def one_by_one(server: Server, names: list[str]) -> tuple[float, float, float, float]:
    """Each file once over one connection; times are to the first bytes of the answer."""
    before, began_s, times_ms = sum(map(cpu_s, server.pids)), time.perf_counter(), []
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    for name in names:
        asked_s = time.perf_counter()
        connection.request("GET", f"/{name}", headers={"Host": server.host})
        answer = connection.getresponse()
        times_ms.append((time.perf_counter() - asked_s) * 1000)
        assert answer.status == 200, (server.name, name, answer.status)
        answer.read()
    took_s = time.perf_counter() - began_s
    cpu_us = (sum(map(cpu_s, server.pids)) - before) / len(names) * 1e6
    times_ms.sort()
    return len(names) / took_s, cpu_us, times_ms[len(names) // 2], times_ms[len(names) * 99 // 100]


def measure(server: Server, name: str) -> tuple[float, float, float, float]:
    """Requests a second, CPU microseconds for each, and times of the whole answer: p50 and p99 in ms."""
    before = sum(map(cpu_s, server.pids))
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", "--latency", "--timeout", "60s"]
    command += ["-H", f"Host: {server.host}", f"http://127.0.0.1:{server.port}/{name}"]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "Non-2xx" not in text, text
    transferred = re.search(r"([0-9.]+)(KB|MB|GB) read", text)
    assert transferred is not None
    bytes_read = float(transferred[1]) * {"KB": 2**10, "MB": 2**20, "GB": 2**30}[transferred[2]]
    requests = bytes_read / FILES[name]  # counts the parts of large files, too
    cpu_us = (sum(map(cpu_s, server.pids)) - before) / requests * 1e6
    return requests / SECONDS, cpu_us, latency_ms(text, "50%"), latency_ms(text, "99%")


def latency_ms(text: str, share: str) -> float:
    found = re.search(rf"{share}\s+([0-9.]+)(us|ms|s)\b", text)
    return float(found[1]) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[found[2]] if found else 0.0


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
        publish(running.store, key, tree_of(Path(root)))
        print(running.port, running.pids[0], flush=True)
        await trio.sleep_forever()


def tree_of(folder: Path) -> Tree:
    return {path.name: tree_of(path) if path.is_dir() else path.read_bytes() for path in folder.iterdir()}


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
def hypercorn(root: Path) -> Iterator[Server]:
    port = free_port()
    command = [sys.executable, "-c", HYPERCORN, str(port), str(root)]
    with running(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        wait_for_port(port)
        yield Server("hypercorn", port, "localhost", [process.pid])


@contextmanager
def caddy(folder: Path, root: Path) -> Iterator[Server]:
    port = free_port()
    config = folder / "Caddyfile"
    config.write_text(CADDY.format(port=port, root=root))
    command = ["caddy", "run", "--config", str(config), "--adapter", "caddyfile"]
    with running(command, env=os.environ | {"GOMAXPROCS": "1"}, stderr=subprocess.DEVNULL) as process:
        wait_for_port(port)
        yield Server("caddy", port, "localhost", [process.pid])


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
