"""A plain HTTP client for tests that see every byte."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import trio


@dataclass(frozen=True)
class Answer:
    """One response. headers: names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


class Client:
    """One connection."""

    def __init__(self, sock: trio.socket.SocketType) -> None:
        self.sock = sock
        self._buffer = bytearray()

    async def send(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[await self.sock.send(view) :]

    async def ask(
        self, target: str, host: str, *, method: str = "GET", headers: Iterable[tuple[str, str]] = ()
    ) -> Answer:
        lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", *(f"{k}: {v}" for k, v in headers)]
        await self.send("\r\n".join([*lines, "", ""]).encode("latin-1"))
        return await self.answer(head_only=method == "HEAD")

    async def answer(self, *, head_only: bool = False) -> Answer:
        """The next response; EOFError if the connection ends first."""
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            await self._more()
        first, *lines = self._take(end + 4)[:end].decode("latin-1").split("\r\n")
        headers: dict[str, str] = {}
        for line in lines:
            name, _, value = line.partition(": ")
            key = name.lower()
            assert key not in headers or key == "content-security-policy"
            headers[key] = f"{headers[key]}, {value}" if key in headers else value
        if "transfer-encoding" in headers and not head_only:
            return Answer(int(first.split()[1]), headers, await self._chunks())
        length = 0 if head_only else int(headers.get("content-length", "0"))
        while len(self._buffer) < length:
            await self._more()
        return Answer(int(first.split()[1]), headers, self._take(length))

    async def _chunks(self) -> bytes:
        body = b""
        while True:
            while (end := self._buffer.find(b"\r\n")) < 0:
                await self._more()
            size = int(self._take(end + 2), 16)
            while len(self._buffer) < size + 2:
                await self._more()
            body += self._take(size)
            assert self._take(2) == b"\r\n"
            if not size:
                return body

    async def ends(self) -> bytes:
        """What still comes until the other side closes."""
        while data := await self.sock.recv(65536):
            self._buffer += data
        return self._take(len(self._buffer))

    def _take(self, count: int) -> bytes:
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken

    async def _more(self) -> None:
        data = await self.sock.recv(65536)
        if not data:
            raise EOFError(bytes(self._buffer))
        self._buffer += data


async def connect(port: int, host: str = "127.0.0.1") -> Client:
    """Close it with `client.sock.close()`, or use `fetch`."""
    sock = trio.socket.socket()
    try:
        await sock.connect((host, port))
    except BaseException:
        sock.close()
        raise
    return Client(sock)


async def fetch(
    port: int, target: str, host: str, *, method: str = "GET", headers: Iterable[tuple[str, str]] = ()
) -> Answer:
    """One request on a connection of its own."""
    client = await connect(port)
    with client.sock:
        return await client.ask(target, host, method=method, headers=headers)
