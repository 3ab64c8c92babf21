"""Throughput and latency between two processes on loopback: raw trio TCP, libp2p as it comes, and fednode.

    python -m bench.wire [--mib 64] [--rounds 3]

All three are measured in one run, in turns, and the medians printed as ratios: absolute numbers differ from machine
to machine and from minute to minute, ratios hardly do.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Protocol

import trio

from node.net import NetSettings, Stream, open_network

KINDS = ("tcp", "libp2p", "fednode")
SINK, ECHO = "/bench/sink/1", "/bench/echo/1"
MESSAGES = {"256 KiB messages": (1, 256 * 1024), "1 MiB messages": (1, 1024 * 1024), "8 streams": (8, 256 * 1024)}


class Pipe(Protocol):
    """What the three kinds have in common."""

    async def write(self, data: bytes) -> None: ...
    async def read(self) -> bytes: ...
    async def end(self) -> None: ...


Open = Callable[[str], Awaitable[Pipe]]


class TrioPipe:
    def __init__(self, stream: trio.abc.HalfCloseableStream) -> None:
        self.stream = stream

    async def write(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def read(self) -> bytes:
        return bytes(await self.stream.receive_some(256 * 1024))

    async def end(self) -> None:
        await self.stream.send_eof()


class LibP2PPipe:
    def __init__(self, stream: Any) -> None:
        self.stream = stream

    async def write(self, data: bytes) -> None:
        await self.stream.write(data)

    async def read(self) -> bytes:
        from libp2p.network.stream.exceptions import StreamEOF

        try:
            return bytes(await self.stream.read(256 * 1024))
        except StreamEOF:
            return b""

    async def end(self) -> None:
        await self.stream.close()


async def sink(pipe: Pipe) -> None:
    """Read to the end, then say so."""
    while await pipe.read():
        pass
    await pipe.write(b"\x01")
    await pipe.end()


async def echo(pipe: Pipe) -> None:
    while data := await pipe.read():
        await pipe.write(data)
    await pipe.end()


# The serving process: prints its address, ends with its stdin, then prints the CPU seconds it used


async def serve_tcp(ready: Callable[[str], None]) -> None:
    async def accept(stream: trio.SocketStream) -> None:
        pipe = TrioPipe(stream)
        kind = await stream.receive_some(1)
        await (sink(pipe) if kind == b"s" else echo(pipe))
        await stream.aclose()

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        ready(str(listeners[0].socket.getsockname()[1]))
        await trio.serve_listeners(accept, listeners, handler_nursery=nursery)


async def serve_libp2p(ready: Callable[[str], None]) -> None:
    from libp2p import new_host
    from multiaddr import Multiaddr

    host = new_host(muxer_opt=_their_muxer())

    async def on_sink(stream: Any) -> None:
        await sink(LibP2PPipe(stream))

    async def on_echo(stream: Any) -> None:
        await echo(LibP2PPipe(stream))

    host.set_stream_handler(SINK, on_sink)
    host.set_stream_handler(ECHO, on_echo)
    async with host.run([Multiaddr("/ip4/127.0.0.1/tcp/0")]):
        ready(str(host.get_addrs()[0]))
        await trio.sleep_forever()


async def serve_fednode(ready: Callable[[str], None]) -> None:
    async def on_sink(stream: Stream) -> None:
        await sink(TrioPipe(stream))

    async def on_echo(stream: Stream) -> None:
        await echo(TrioPipe(stream))

    async with open_network(NetSettings(("/ip4/127.0.0.1/tcp/0",), os.urandom(32))) as network:
        network.serve(SINK, on_sink)
        network.serve(ECHO, on_echo)
        ready(network.addresses()[0])
        await trio.sleep_forever()


def _their_muxer() -> Any:
    from libp2p import create_yamux_muxer_option

    return create_yamux_muxer_option()


async def serve(kind: str) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(globals()[f"serve_{kind}"], lambda address: print(address, flush=True))
        await trio.to_thread.run_sync(sys.stdin.read, abandon_on_cancel=True)
        used = resource.getrusage(resource.RUSAGE_SELF)
        print(used.ru_utime + used.ru_stime, flush=True)
        os._exit(0)


# The asking process


@asynccontextmanager
async def open_tcp(address: str) -> AsyncIterator[Open]:
    async def open_pipe(protocol: str) -> Pipe:
        stream = await trio.open_tcp_stream("127.0.0.1", int(address))
        await stream.send_all(b"s" if protocol == SINK else b"e")
        return TrioPipe(stream)

    yield open_pipe


@asynccontextmanager
async def open_libp2p(address: str) -> AsyncIterator[Open]:
    from libp2p import new_host
    from libp2p.custom_types import TProtocol
    from libp2p.peer.peerinfo import info_from_p2p_addr
    from multiaddr import Multiaddr

    host = new_host(muxer_opt=_their_muxer())
    async with host.run([]):
        info = info_from_p2p_addr(Multiaddr(address))
        await host.connect(info)

        async def open_pipe(protocol: str) -> Pipe:
            return LibP2PPipe(await host.new_stream(info.peer_id, [TProtocol(protocol)]))

        yield open_pipe


@asynccontextmanager
async def open_fednode(address: str) -> AsyncIterator[Open]:
    async with open_network(NetSettings((), os.urandom(32))) as network:
        peer = await network.connect(address, deadline_s=5)

        async def open_pipe(protocol: str) -> Pipe:
            return TrioPipe(await network.open(peer, protocol, deadline_s=5))

        yield open_pipe


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
    """Median seconds to open a stream and get a first byte back."""
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


async def ask(kind: str, address: str, mib: int) -> dict[str, float]:
    total = mib * 1024 * 1024
    results = {}
    async with globals()[f"open_{kind}"](address) as open_pipe:
        await throughput(open_pipe, 1, 256 * 1024, 1024 * 1024)
        for name, (streams, size) in MESSAGES.items():
            before = time.process_time()
            results[name] = mib / await throughput(open_pipe, streams, size, total)
            results[f"cpu {name}"] = time.process_time() - before
        results["latency"] = await latency(open_pipe)
        results["new stream"] = await new_stream(open_pipe)
    return results


def measure(kind: str, mib: int) -> dict[str, float]:
    command = [sys.executable, "-m", "bench.wire"]
    with subprocess.Popen(
        [*command, "--serve", kind], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        if server.stdout is None or server.stdin is None:
            raise RuntimeError("no pipes")
        address = server.stdout.readline().strip()
        asked = subprocess.run(
            [*command, "--ask", kind, address, "--mib", str(mib)], capture_output=True, text=True, timeout=300
        )
        server.stdin.close()
        used_s = float(server.stdout.read())
        if asked.returncode:
            raise RuntimeError(asked.stderr)
        return {**json.loads(asked.stdout), "cpu of the server": used_s}


def report(results: dict[str, list[dict[str, float]]]) -> None:
    def median(kind: str, name: str) -> float:
        return statistics.median(each[name] for each in results[kind])

    print(f"{'':24}" + "".join(f"{kind:>12}" for kind in KINDS) + f"{'of tcp':>10}{'of libp2p':>12}")
    rows = [(name, "MiB/s", 1.0) for name in MESSAGES]
    rows += [(f"cpu {name}", "s of CPU, asking side", 1.0) for name in MESSAGES]
    rows.append(("cpu of the server", "s of CPU, start included", 1.0))
    rows += [("latency", "ms there and back", 1e3), ("new stream", "ms", 1e3)]
    for name, unit, factor in rows:
        values = [median(kind, name) * factor for kind in KINDS]
        cells = "".join(f"{value:12.2f}" for value in values)
        print(f"{name:24}{cells}{values[2] / values[0]:10.2f}{values[2] / values[1]:12.2f}  {unit}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--serve", choices=KINDS)
    parser.add_argument("--ask", nargs=2)
    options = parser.parse_args()
    if options.serve:
        trio.run(serve, options.serve)
    elif options.ask:
        kind, address = options.ask
        print(json.dumps(trio.run(ask, kind, address, options.mib)))
    else:
        results: dict[str, list[dict[str, float]]] = {kind: [] for kind in KINDS}
        for _ in range(options.rounds):
            for kind in KINDS:
                results[kind].append(measure(kind, options.mib))
        report(results)


if __name__ == "__main__":
    main()
