"""HTTP over a Unix socket, as far as the admin API's client needs it: from the standard library, since importing a
larger client costs a command more time than what it asks for."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer: the HTTP status and the body."""

    status: int
    body: bytes

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300


class ConnectFailed(Exception):
    """Nobody can be reached at the socket; the OSError is its cause."""


def request(
    socket_path: Path,
    method: str,
    target: str,
    *,
    body: bytes | Iterable[bytes] | None,
    headers: Mapping[str, str],
    connect_s: float,
    timeout_s: float,
) -> Answer:
    """One request over a connection of its own. A body in pieces is sent as it comes, in chunks.

    `timeout_s` is for each piece sent and for each that is received. Raises ConnectFailed, TimeoutError, OSError or
    http.client.HTTPException.
    """
    with closing(_UnixConnection(socket_path, connect_s, timeout_s)) as connection:
        connection.connect()
        with suppress(ConnectionError):  # who refuses a long body says so before its end, and takes no more of it
            connection.request(method, target, body, {"connection": "close", **headers})
        response = connection.getresponse()
        return Answer(response.status, response.read())


class _UnixConnection(HTTPConnection):
    def __init__(self, socket_path: Path, connect_s: float, timeout_s: float) -> None:
        super().__init__("fednode")
        self._socket_path = socket_path
        self._connect_s = connect_s
        self._timeout_s = timeout_s

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self._connect_s)
        try:
            self.sock.connect(str(self._socket_path))
        except OSError as error:
            raise ConnectFailed from error
        self.sock.settimeout(self._timeout_s)
