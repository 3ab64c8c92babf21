"""A go-libp2p daemon (p2pd) and its control protocol: protobuf behind a varint length on a Unix socket."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from pathlib import Path

from node.net.peer_ids import peer_id_bytes, peer_id_text
from tests.ports import free_port

_IDENTIFY, _CONNECT, _STREAM_OPEN, _STREAM_HANDLER = range(4)
_START_S = 30.0


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def _field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _read_varint(read: socket.SocketIO) -> int:
    number = shift = 0
    while True:
        byte = read.read(1)
        if not byte:
            raise EOFError
        number |= (byte[0] & 127) << shift
        shift += 7
        if byte[0] < 128:
            return number


def _fields(raw: bytes) -> list[tuple[int, int | bytes]]:
    found: list[tuple[int, int | bytes]] = []
    at = 0

    def varint() -> int:
        nonlocal at
        number = shift = 0
        while True:
            byte = raw[at]
            at += 1
            number |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return number

    while at < len(raw):
        tag = varint()
        value = varint()
        if tag & 7 == 0:
            found.append((tag >> 3, value))
        else:
            found.append((tag >> 3, raw[at : at + value]))
            at += value
    return found


class GoNode:
    """One p2pd on loopback, a context manager."""

    def __init__(self, binary: Path, folder: Path, *, dht_server: bool = False) -> None:
        self._control = folder / "p2pd.sock"
        self._folder = folder
        self._server: socket.socket | None = None
        port = free_port()
        command = [str(binary), "-listen", f"/unix{self._control}", "-hostAddrs", f"/ip4/127.0.0.1/tcp/{port}"]
        command += ["-quic=false", "-relay=false", "-relayService=false"]
        if dht_server:
            command += ["-dhtServer", "-forceReachabilityPublic"]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._port = port

    def __enter__(self) -> GoNode:
        end_s = time.monotonic() + _START_S
        while True:
            try:
                answer = self._call(_field(1, _IDENTIFY))
                break
            except OSError:
                if time.monotonic() > end_s:
                    raise
                time.sleep(0.05)
        identity = dict(_fields(bytes(dict(answer)[4])))
        self.peer = peer_id_text(bytes(identity[1]))
        self.address = f"/ip4/127.0.0.1/tcp/{self._port}/p2p/{self.peer}"
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(30)
        if self._server is not None:
            self._server.shutdown(socket.SHUT_RDWR)
            self._accepting.join(10)
            self._server.close()

    def connect(self, peer: str, port: int) -> None:
        address = b"\x04\x7f\x00\x00\x01\x06" + port.to_bytes(2, "big")
        self._call(_field(1, _CONNECT) + _field(2, _field(1, peer_id_bytes(peer)) + _field(2, address)))

    def open(self, peer: str, protocol: str) -> socket.socket:
        """A stream to the peer, as a socket."""
        request = _field(1, _STREAM_OPEN) + _field(3, _field(1, peer_id_bytes(peer)) + _field(2, protocol.encode()))
        return self._ask(request)[1]

    def serve_echo(self, protocol: str) -> None:
        """Inbound streams of the protocol are echoed, each by a thread."""
        path = self._folder / "echo.sock"
        server = self._server = socket.socket(socket.AF_UNIX)
        server.bind(str(path))
        server.listen()
        text = str(path).encode()
        address = _varint(400) + _varint(len(text)) + text
        self._call(
            _field(1, _STREAM_HANDLER) + _field(4, _field(1, address) + _field(2, protocol.encode()) + _field(3, 0))
        )

        def accept() -> None:
            while True:
                try:
                    stream, _ = server.accept()
                except OSError:  # closed
                    return
                threading.Thread(target=echo, args=(stream,), daemon=True).start()

        def echo(stream: socket.socket) -> None:
            with stream, stream.makefile("rb", buffering=0) as read:
                read.read(_read_varint(read))  # who it is
                while data := stream.recv(65536):
                    stream.sendall(data)

        self._accepting = threading.Thread(target=accept, daemon=True)
        self._accepting.start()

    def _call(self, request: bytes) -> list[tuple[int, int | bytes]]:
        answer, sock = self._ask(request)
        sock.close()
        return answer

    def _ask(self, request: bytes) -> tuple[list[tuple[int, int | bytes]], socket.socket]:
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(30)
        try:
            sock.connect(str(self._control))
            return self._exchange(sock, request), sock
        except BaseException:
            sock.close()
            raise

    @staticmethod
    def _exchange(sock: socket.socket, request: bytes) -> list[tuple[int, int | bytes]]:
        sock.sendall(_varint(len(request)) + request)
        with sock.makefile("rb", buffering=0) as read:
            answer = _fields(read.read(_read_varint(read)) or b"")
        if answer[0] != (1, 0):
            raise AssertionError(f"p2pd refuses: {answer}")
        return answer
