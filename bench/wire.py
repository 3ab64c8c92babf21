"""Throughput, processor time and latency between two processes on loopback, five ways in one run.

    ./dev bench wire [--mib 64] [--rounds 3] [--kinds tcp,tls,https,libp2p,fednode]

Raw trio TCP, trio's own TLS stream, httpx to hypercorn over TLS, py-libp2p as it comes, and fednode take turns, and
the medians are printed as numbers and as ratios: numbers differ from machine to machine and from minute to minute,
ratios less. "s of CPU per GB" is user and system time of both processes for 10^9 bytes, without their start.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import trio

from bench._wire_kinds import ECHO, KINDS, SINK, Kind, Open

MESSAGES = {"256 KiB messages": (1, 256 * 1024), "1 MiB messages": (1, 1024 * 1024), "8 streams": (8, 256 * 1024)}


async def throughput(open_pipe: Open, streams: int, message_bytes: int, total_bytes: int) -> float:
    """Seconds until the other side has read everything."""
    message = os.urandom(message_bytes)

    async def send() -> None:
        pipe = await open_pipe(SINK)
        for _ in range(total_bytes // message_bytes // streams):
            await pipe.write(message)
        await pipe.end()
        if not await pipe.read():
            raise RuntimeError("the other side did not read to the end")

    started = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for _ in range(streams):
            nursery.start_soon(send)
    return time.perf_counter() - started


async def latency(open_pipe: Open) -> float:
    """Median seconds for 1 KiB there and back."""
    pipe = await open_pipe(ECHO)
    times = []
    for _ in range(300):
        started = time.perf_counter()
        await pipe.write(bytes(1024))
        left = 1024
        while left:
            left -= len(await pipe.read())
        times.append(time.perf_counter() - started)
    await pipe.end()
    return statistics.median(times)


async def new_stream(open_pipe: Open) -> float:
    """Median seconds to open a pipe and get a first byte back."""
    times = []
    for _ in range(60):
        started = time.perf_counter()
        pipe = await open_pipe(ECHO)
        await pipe.write(b"x")
        await pipe.read()
        times.append(time.perf_counter() - started)
        await pipe.end()
        await pipe.read()
    return statistics.median(times)


def cpu_s(pid: int) -> float:
    """Seconds of processor time that a process has used: what clock_getcpuclockid(3) gives, which Python lacks."""
    return time.clock_gettime(~pid << 3 | 2)


async def ask(kind: Kind, address: str, server_pid: int, mib: int) -> dict[str, float]:
    total_bytes = mib * 1024 * 1024
    results = {}
    async with kind.open_pipes(address) as open_pipe:
        await throughput(open_pipe, 1, 256 * 1024, 1024 * 1024)
        for name, (streams, size) in MESSAGES.items():
            before_s = time.process_time() + cpu_s(server_pid)
            results[name] = total_bytes / 1e6 / await throughput(open_pipe, streams, size, total_bytes)
            used_s = time.process_time() + cpu_s(server_pid) - before_s
            results[f"cpu {name}"] = used_s / total_bytes * 1e9
        results["latency"] = await latency(open_pipe)
        results["new stream"] = await new_stream(open_pipe)
    return results


async def serve(kind: Kind) -> None:
    """Print the address, and end with stdin."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(kind.serve, lambda address: print(address, flush=True))
        await trio.to_thread.run_sync(sys.stdin.read, abandon_on_cancel=True)
        os._exit(0)


def measure(name: str, mib: int, folder: str) -> dict[str, float]:
    command = [sys.executable, "-m", "bench.wire", "--folder", folder]
    with subprocess.Popen(
        [*command, "--serve", name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as server:
        if server.stdout is None or server.stdin is None:
            raise RuntimeError("no pipes")
        address = server.stdout.readline().strip()
        asked = subprocess.run(
            [*command, "--mib", str(mib), "--ask", name, address, str(server.pid)],
            capture_output=True,
            text=True,
            timeout=600,
        )
        server.stdin.close()
        if asked.returncode:
            raise RuntimeError(asked.stderr)
        found: dict[str, float] = json.loads(asked.stdout)
        return found


def report(results: dict[str, list[dict[str, float]]]) -> None:
    rows = [(name, "MB/s", 1.0) for name in MESSAGES]
    rows += [(f"cpu {name}", "s of CPU per GB, both ends", 1.0) for name in MESSAGES]
    rows += [("latency", "ms there and back", 1e3), ("new stream", "ms", 1e3)]
    print(f"{'':22}" + "".join(f"{name:>10}" for name in results))
    for row, unit, factor in rows:
        medians = {name: statistics.median(each[row] for each in rounds) * factor for name, rounds in results.items()}
        print(f"{row:22}" + "".join(f"{value:10.2f}" for value in medians.values()) + f"  {unit}")
        if "fednode" in medians:
            ratios = (f"{medians['fednode'] / value:10.2f}" for value in medians.values())
            print(f"{'  fednode : this':22}" + "".join(ratios))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mib", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    parser.add_argument("--serve", choices=KINDS, help=argparse.SUPPRESS)
    parser.add_argument("--ask", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        trio.run(serve, KINDS[options.serve](Path(options.folder)))
    elif options.ask:
        name, address, pid = options.ask
        print(json.dumps(trio.run(ask, KINDS[name](Path(options.folder)), address, int(pid), options.mib)))
    else:
        results: dict[str, list[dict[str, float]]] = {kind: [] for kind in options.kinds.split(",")}
        with tempfile.TemporaryDirectory() as folder:
            for _ in range(options.rounds):
                for kind, rounds in results.items():
                    rounds.append(measure(kind, options.mib, folder))
        report(results)


if __name__ == "__main__":
    main()
