"""The gateway's request path under requests that are almost right: a real server over a real store, on real sockets.

./dev fuzz gateway --minutes 60     a long run; the fast tests do a few hundred of the same
"""

from __future__ import annotations

import argparse
import re
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import trio
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from node.gateway.http1 import BadRequest, HeadReader, Request
from node.gateway.limits import Limits
from protocol.site_id import SiteId
from tests.unit.gateway.nodes import Node, new_key, running_node
from tests.unit.gateway.sites import Tree

ANSWER_S = 20.0
STATUSES = {200, 206, 301, 302, 304, 400, 404, 405, 406, 410, 411, 412, 413, 414, 416, 431, 501, 505}
_HEAD = re.compile(rb"HTTP/1\.1 ([0-9]{3}) [ -~]*\r\n((?:[!-9;-~]+: [\t -~\x80-\xff]*\r\n)*)\r\n")
FILES: Tree = {
    "index.html": b"<h1>here</h1>",
    "a": {"b.txt": b"text", "index.html": b"in a"},
    "404.html": b"not here",
    "_redirects": b"/old/* /a/:splat 302\n/app/* /index.html 200\n/gone /404.html 410\n",
    "_headers": b"/a/*\n  Cache-Control: max-age=1\n",
    "b.txt.gz": b"gz",
    "b.txt": b"plain" * 1000,
}


@dataclass
class Target:
    """A gateway in a thread."""

    node: Node
    site: SiteId
    root: str

    def send(self, raw: bytes) -> bytes:
        """All that comes back."""
        with socket.create_connection(("127.0.0.1", self.node.port), timeout=ANSWER_S) as sock:
            got = bytearray()
            try:
                sock.sendall(raw)
                sock.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # hopeless before its end
            try:
                while data := sock.recv(65536):
                    got += data
            except ConnectionResetError:
                pass  # what was not read any more
            return bytes(got)


@contextmanager
def gateway(directory: Path) -> Iterator[Target]:
    """Settings are the defaults."""
    ready, done = threading.Event(), trio.Event()
    found: list[tuple[Target, trio.lowlevel.TrioToken]] = []

    async def run() -> None:
        async with running_node(directory) as node:
            site, built = node.publish(new_key(), FILES)
            found.append((Target(node, site, str(built.root)), trio.lowlevel.current_trio_token()))
            ready.set()
            await done.wait()

    thread = threading.Thread(target=trio.run, args=(run,))
    thread.start()
    try:
        assert ready.wait(30)
        yield found[0][0]
    finally:
        if found:
            found[0][1].run_sync_soon(done.set)
        thread.join()


def words(target: Target) -> list[bytes]:
    """What requests are made of."""
    site, root = str(target.site).encode(), target.root.encode()
    return [
        *(
            b"GET ",
            b"HEAD ",
            b"POST ",
            b"get ",
            b" HTTP/1.1\r\n",
            b" HTTP/1.0\r\n",
            b" HTTP/9.9\r\n",
            b"\r\n",
            b"\n",
            b"\r",
        ),
        *(
            b"/",
            b"//",
            b"/a",
            b"/a/",
            b"/a/b.txt",
            b"/b.txt",
            b"/old/x",
            b"/app/y",
            b"/gone",
            b"/_headers",
            b"index.html",
        ),
        *(b"..", b".", b"%2e%2e", b"%2f", b"%00", b"%", b"%c0%ae", b"%ff", b"?", b"#", b"?format=raw", b"?format=car"),
        *(
            b"&dag-scope=entity",
            b"&entity-bytes=0:-1",
            b"?format=ipns-record",
            b"?filename=a.b",
            b"&format=tar",
            b"*",
            b";",
        ),
        *(b"/ipns/" + site, b"/ipfs/" + root, b"/ipns/example.org", b"/ipfs/", b"/ipns/", b"/healthz", b"/robots.txt"),
        *(b"/.well-known/fednode", b"/.well-known/fednode/tls?domain=", b"/.well-known/fednode/reports"),
        *(b"/.well-known/fednode/log/entries/0/1", b"/routing/v1/ipns/" + site, b"/routing/v1/providers/" + root),
        *(b"Host: ", b"Host: localhost\r\n", b"Host: " + site + b".ipns.localhost\r\n", b"127.0.0.1", b"[::1]", b":80"),
        *(
            b"Host: " + root + b".ipfs.localhost\r\n",
            b".ipns.",
            b"localhost",
            b"http://",
            b"example.org",
            b"\xff",
            b"\0",
        ),
        *(
            b"Range: bytes=",
            b"0-",
            b"-1",
            b"1-2",
            b",",
            b"9" * 30,
            b"If-Range: ",
            b"If-None-Match: ",
            b"If-Match: ",
            b'"x"',
        ),
        *(
            b"Accept: ",
            b"application/vnd.ipld.car",
            b"application/vnd.ipld.raw",
            b";version=1",
            b";order=dfs",
            b";dups=y",
        ),
        *(
            b"Accept-Encoding: ",
            b"gzip",
            b"br;q=",
            b"0.5",
            b"identity",
            b"Cache-Control: only-if-cached\r\n",
            b"text/html",
        ),
        *(b"Connection: close\r\n", b"Connection: ", b"keep-alive", b"Upgrade: h2c\r\n", b"Expect: 100-continue\r\n"),
        *(
            b"Content-Length: ",
            b"Transfer-Encoding: ",
            b"chunked",
            b"0",
            b"5",
            b"0\r\n\r\n",
            b"Service-Worker: script\r\n",
        ),
        *(
            b"X-Forwarded-For: ",
            b"X-Forwarded-Host: ",
            b"X-Forwarded-Proto: https\r\n",
            b"Forwarded: ",
            b" ",
            b"\t",
            b":",
        ),
    ]


def requests(target: Target) -> st.SearchStrategy[bytes]:
    """Heads that are whole, cut, damaged, or anything."""
    pieces = st.lists(st.one_of(st.sampled_from(words(target)), st.binary(max_size=4)), max_size=30).map(b"".join)
    path = st.lists(st.sampled_from(words(target)[10:50]), max_size=6).map(b"".join)
    host = st.sampled_from([word for word in words(target) if word.startswith(b"Host: ") and word.endswith(b"\r\n")])
    head = st.builds(
        lambda method, where, at, more: method + b"/" + where + b" HTTP/1.1\r\n" + at + more + b"\r\n",
        st.sampled_from([b"GET ", b"HEAD ", b"POST "]),
        path,
        host,
        st.one_of(st.just(b""), pieces),
    )
    some = st.lists(st.one_of(head, head, pieces), min_size=1, max_size=4).map(b"".join)
    return st.builds(damaged, some, st.lists(st.tuples(st.integers(0, 400), st.binary(max_size=2)), max_size=2))


def damaged(raw: bytes, changes: list[tuple[int, bytes]]) -> bytes:
    """Some bytes in it replaced."""
    for at, new in changes:
        raw = raw[:at] + new + raw[at + 1 :]
    return raw


def read_heads(raw: bytes, step: int) -> tuple[list[Request], int | None]:
    """The requests, and the status of what is none. Whatever else is raised is a bug."""
    reader = HeadReader(Limits())
    found: list[Request] = []
    try:
        for at in range(0, len(raw), step):
            reader.feed(raw[at : at + step])
            while (request := reader.next_request()) is not None:
                if request.body_bytes and reader.take_body(request.body_bytes) is None:
                    return found, None  # the rest is a body that has not come
                found.append(request)
                if not request.keep_alive:
                    return found, None
    except BadRequest as error:
        return found, error.status
    return found, None


def check(target: Target, raw: bytes, step: int) -> None:
    """Raises AssertionError for an answer that should not be."""
    expected, refused = read_heads(raw, max(1, len(raw)))
    if b"POST" not in raw:  # a body that comes in parts is waited for
        assert read_heads(raw, step) == (expected, refused)
    got, statuses = target.send(raw), []
    while got:
        head = _HEAD.match(got)
        assert head is not None, got[:300]
        status, headers = int(head[1]), head[2].lower()
        statuses.append(status)
        assert status in STATUSES, got[:300]
        got = got[head.end() :]
        is_head = len(statuses) <= len(expected) and expected[len(statuses) - 1].method == "HEAD"
        got = b"" if b"transfer-encoding" in headers else got[0 if is_head else length_of(headers) :]
    assert len(statuses) <= len(expected) + (refused is not None)
    assert target.node.server.stats.failed == 0


def length_of(headers: bytes) -> int:
    found = re.search(rb"content-length: ([0-9]+)\r\n", headers)
    return int(found[1]) if found else 0


def fuzz(target: Target, examples: int) -> Callable[[], None]:
    """A run of so many examples."""

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(requests(target), st.integers(1, 40))
    def run(raw: bytes, step: int) -> None:
        check(target, raw, step)

    return run


def main() -> None:
    parser = argparse.ArgumentParser(prog="./dev fuzz gateway", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    end_s, rounds = time.monotonic() + 60 * options.minutes, 0
    with tempfile.TemporaryDirectory() as folder, gateway(Path(folder)) as target:
        while time.monotonic() < end_s:
            seed(options.seed + rounds)(fuzz(target, 1000))()
            rounds += 1
        asked = target.node.server.stats.requests
    sys.stdout.write(f"{rounds * 1000} connections with {asked} requests, seeds from {options.seed}: nothing found\n")


if __name__ == "__main__":
    main()
