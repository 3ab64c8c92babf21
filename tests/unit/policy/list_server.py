"""A server of one list on loopback, over HTTP or over TLS with certificates of a test CA."""

from __future__ import annotations

import datetime
import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY = datetime.timedelta(days=1)


class ListServer:
    """What it serves, and with what it was asked. stalls: the body stops before its end until `let_go`, which `stalled`
    tells; drips: it comes in pieces of one byte."""

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.status = 200
        self.etag = '"1"'
        self.asked: list[str | None] = []
        self.url = ""
        self.stalls = False
        self.drips = False
        self.stalled = threading.Event()
        self.let_go = threading.Event()


@contextmanager
def list_server(body: bytes, tls: ssl.SSLContext | None = None) -> Iterator[ListServer]:
    state = ListServer(body)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.asked.append(self.headers.get("If-None-Match"))
            same = self.headers.get("If-None-Match") == state.etag
            self.send_response(304 if same else state.status)
            if state.status in (301, 302):
                self.send_header("Location", "http://192.0.2.1/list")
            self.send_header("ETag", state.etag)
            body = b"" if same else state.body
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self._send(body)

        def _send(self, body: bytes) -> None:
            if state.stalls:
                self.wfile.write(body[:-1])
                state.stalled.set()
                if state.let_go.wait(60):
                    self.wfile.write(body[-1:])
            elif state.drips:
                for byte in body:
                    self.wfile.write(bytes([byte]))
                    state.let_go.wait(0.01)
            else:
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    class Server(ThreadingHTTPServer):
        def get_request(self) -> tuple[socket.socket, object]:
            connection, address = super().get_request()
            connection.settimeout(30)
            if tls is not None:  # shaken hands with by whoever reads first: the connection's own thread
                connection = tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
            return connection, address

        def handle_error(self, request: object, client_address: object) -> None:
            """Clients that refuse a certificate or hang up are what the tests are about."""

    http = Server(("127.0.0.1", 0), Handler)
    scheme = "http" if tls is None else "https"
    state.url = f"{scheme}://127.0.0.1:{http.server_port}/list.deny"
    thread = threading.Thread(target=http.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield state
    finally:
        state.let_go.set()
        http.shutdown()
        thread.join()
        http.server_close()


class Authority:
    """A CA with its certificate in `path`."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        ca = x509.BasicConstraints(ca=True, path_length=None)
        own = self._sign(self._name, self._key.public_key(), ca, critical=True)
        self.path = folder / f"{name}.pem"
        self.path.write_bytes(own.public_bytes(serialization.Encoding.PEM))

    def certify(self, context: ssl.SSLContext, host: str, *, until_days: int = 1) -> None:
        """From now on the context presents a new certificate for an IP address."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "server")])
        hosts = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))])
        signed = self._sign(name, key.public_key(), hosts, critical=False, until_days=until_days)
        path = self._folder / "server.pem"
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        path.write_bytes(private + signed.public_bytes(serialization.Encoding.PEM))
        context.load_cert_chain(path)
        path.unlink()

    def _sign(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePublicKey,
        extension: x509.ExtensionType,
        *,
        critical: bool,
        until_days: int = 1,
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(self._name).public_key(key)
        builder = builder.serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(now - 3 * DAY).not_valid_after(now + until_days * DAY)
        return builder.add_extension(extension, critical=critical).sign(self._key, hashes.SHA256())
