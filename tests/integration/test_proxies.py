"""Caddy and nginx, as deploy/ sets them up, in front of a real daemon: HTTPS for names that the node serves alone."""

from __future__ import annotations

import http.client
import os
import re
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.integration.daemons import Daemon, Site, daemon_folder, eventually
from tests.ports import free_port
from tests.unit.gateway.dns_server import DnsServer, dns_server

pytestmark = [pytest.mark.integration]

DEPLOY = Path(__file__).parents[2] / "deploy"
BASE = "sites.example.org"
NAMES = ("one.example.org", "two.example.net")


class Https:
    """A proxy's HTTPS port, and the authority that signed its certificates."""

    def __init__(self, port: int, authority: Path) -> None:
        self.port = port
        self._authority = authority

    def get(self, name: str, path: str = "/") -> tuple[int, dict[str, str], bytes]:
        """The certificate has to be good for the name. ssl.SSLError, OSError."""
        context = ssl.create_default_context(cafile=str(self._authority))
        with (
            socket.create_connection(("127.0.0.1", self.port), timeout=20) as plain,
            context.wrap_socket(plain, server_hostname=name) as encrypted,
            closing(http.client.HTTPConnection(name)) as connection,
        ):
            connection.sock = encrypted
            connection.request("GET", path, headers={"Host": name, "X-Forwarded-Host": "evil.example"})
            response = connection.getresponse()
            return response.status, {key.lower(): value for key, value in response.getheaders()}, response.read()

    def is_up(self, name: str) -> None:
        try:
            self.get(name)
        except (OSError, http.client.HTTPException) as error:
            raise AssertionError(str(error)) from error


@pytest.fixture(scope="module")
def server() -> Iterator[DnsServer]:
    with dns_server() as running:
        yield running


@pytest.fixture(scope="module")
def daemon(server: DnsServer) -> Iterator[Daemon]:
    settings = {"gateway_dns_servers": server.address, "gateway_trusted_proxies": "127.0.0.1"}
    with daemon_folder() as folder:
        running = Daemon("node", folder, gateway_domains=f"localhost,{BASE}", network_dht="false", **settings)
        running.start()
        try:
            yield running
        finally:
            running.stop()


@pytest.fixture(scope="module")
def sites(daemon: Daemon, server: DnsServer, tmp_path_factory: pytest.TempPathFactory) -> list[Site]:
    """Two sites, each under a domain of its own."""
    made = []
    for name in NAMES:
        site = Site(tmp_path_factory.mktemp("site"))
        site.write("index.html", f"<h1>{name}</h1>")
        site.write("docs/index.html", "docs")
        site.publish(daemon, "--domain", name)
        server.txt[f"_dnslink.{name}"] = [f"dnslink=/ipns/{site.id}"]
        made.append(site)
    return made


@contextmanager
def running(command: list[str], folder: Path) -> Iterator[None]:
    environment = os.environ | {"HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.fixture
def caddy(daemon: Daemon, sites: list[Site], tmp_path: Path) -> Iterator[Https]:
    program = shutil.which("caddy")
    if program is None:
        pytest.skip("caddy is not installed")
    port = free_port()
    lines = ("admin off", "skip_install_trust", "cert_issuer internal", "auto_https disable_redirects")
    more = "".join(f"\t{line}\n" for line in (*lines, f"https_port {port}"))
    text = (DEPLOY / "Caddyfile").read_text().replace("127.0.0.1:8080", daemon.gateway)
    text = text.replace("\n{\n", "\n{\n" + more, 1).replace("https:// {\n", "https:// {\n\tbind 127.0.0.1\n", 1)
    config = tmp_path / "Caddyfile"
    config.write_text(text)
    with running([program, "run", "--config", str(config), "--adapter", "caddyfile"], tmp_path):
        authority = tmp_path / "caddy/pki/authorities/local/root.crt"
        https = Https(port, authority)
        eventually(lambda: https.is_up(NAMES[0]))
        yield https


def test_caddy_serves_two_sites_under_their_domains(caddy: Https, sites: list[Site], daemon: Daemon) -> None:
    for name, site in zip(NAMES, sites, strict=True):
        status, headers, body = caddy.get(name)
        assert (status, body) == (200, f"<h1>{name}</h1>".encode())
        assert headers["x-ipfs-path"] == f"/ipns/{name}/"
        assert caddy.get(f"{site.id}.ipns.{BASE}")[2] == body
    status, headers, _ = caddy.get(BASE, f"/ipns/{sites[0].id}/docs/")
    assert (status, headers["location"]) == (301, f"https://{sites[0].id}.ipns.{BASE}/docs/")


def test_caddy_gets_no_certificate_for_other_names(caddy: Https, daemon: Daemon) -> None:
    for name in ("three.example.org", f"k51nonsense.ipns.{BASE}", "example.org"):
        with pytest.raises(ssl.SSLError):
            caddy.get(name)


def certificate(folder: Path, names: list[str]) -> None:
    """A key and a certificate of its own signing."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    builder = x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), False)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    made = builder.sign(key, hashes.SHA256())
    (folder / "fullchain.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "privkey.pem").write_bytes(key.private_bytes(*form))


@pytest.fixture
def nginx(daemon: Daemon, sites: list[Site], tmp_path: Path) -> Iterator[Https]:
    program = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")
    if program is None:
        pytest.skip("nginx is not installed")
    port = free_port()
    certificate(tmp_path, [BASE, f"*.ipns.{BASE}", f"*.ipfs.{BASE}"])
    text = (DEPLOY / "nginx.conf").read_text().replace("127.0.0.1:8080", daemon.gateway)
    text = re.sub(r"\n *listen \[::\]:.*", "", text).replace("listen 443", f"listen 127.0.0.1:{port}")
    text = text.replace("listen 80;", f"listen 127.0.0.1:{free_port()};")
    text = text.replace(f"/etc/ssl/{BASE}/", f"{tmp_path}/")
    config = tmp_path / "nginx.conf"
    paths = "".join(
        f"{kind}_temp_path {tmp_path}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    head = f"daemon off; pid {tmp_path}/pid; error_log stderr; user root;"
    config.write_text(f"{head}\nevents {{}}\nhttp {{ access_log off; {paths}\n{text}}}\n")
    with running([program, "-c", str(config)], tmp_path):
        https = Https(port, tmp_path / "fullchain.pem")
        eventually(lambda: https.is_up(BASE))
        yield https


def test_nginx_serves_sites_below_the_gateways_domain(nginx: Https, sites: list[Site]) -> None:
    for name, site in zip(NAMES, sites, strict=True):
        assert nginx.get(f"{site.id}.ipns.{BASE}")[::2] == (200, f"<h1>{name}</h1>".encode())
    status, headers, _ = nginx.get(BASE, f"/ipns/{sites[1].id}/docs/")
    assert (status, headers["location"]) == (301, f"https://{sites[1].id}.ipns.{BASE}/docs/")
