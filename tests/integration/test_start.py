"""`fednode start` as a person runs it: the sample site, its address, a taken port."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from cli.sample import SAMPLE_DIR
from tests.integration.daemons import daemon_folder

pytestmark = [pytest.mark.integration]

DEADLINE_S = 60.0


@pytest.fixture
def folder() -> Iterator[Path]:
    with daemon_folder() as found:
        yield found


@contextmanager
def started(folder: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """A daemon on ports that the system chooses; ends with Ctrl-C, and with 0."""
    places = ["--data-dir", str(folder / "node"), "--gateway", "127.0.0.1:0", "--listen", "/ip4/127.0.0.1/tcp/0"]
    process = subprocess.Popen(
        [sys.executable, "-m", "cli", "start", *places, *options],
        env={name: value for name, value in os.environ.items() if not name.startswith("FEDNODE_")},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield process
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.communicate()


def sample_url(process: subprocess.Popen[str]) -> str:
    """The address that start prints."""
    watchdog = threading.Timer(DEADLINE_S, process.kill)
    watchdog.start()
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
    finally:
        watchdog.cancel()
    assert line.startswith("sample site: http://")
    return line.removeprefix("sample site: ").strip()


def get(url: str, path: str) -> tuple[int, bytes]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection("127.0.0.1", parts.port, timeout=DEADLINE_S)
    try:
        connection.request("GET", path, headers={"Host": parts.netloc})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def test_the_sample_site_is_served_at_the_printed_address(folder: Path) -> None:
    with started(folder, "--sample") as process:
        first = sample_url(process)
        assert get(first, "/") == (200, (SAMPLE_DIR / "index.html").read_bytes())
        assert get(first, "/style.css") == (200, (SAMPLE_DIR / "style.css").read_bytes())
        german = get(first, "/greetings/gr%C3%BC%C3%9Fe.html")
        assert german == (200, (SAMPLE_DIR / "greetings" / "grüße.html").read_bytes())
        assert get(first, "/no/such/page") == (404, (SAMPLE_DIR / "404.html").read_bytes())
    with started(folder, "--sample") as process:
        again = sample_url(process)
        assert urlsplit(again).hostname == urlsplit(first).hostname
        assert get(again, "/")[0] == 200


def test_a_port_that_is_taken(folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for options in (
            ["--gateway", f"127.0.0.1:{port}", "--listen", "/ip4/127.0.0.1/tcp/0"],
            ["--gateway", "127.0.0.1:0", "--listen", f"/ip4/127.0.0.1/tcp/{port}"],
        ):
            ran = subprocess.run(
                [sys.executable, "-m", "cli", "start", "--data-dir", str(folder / "node"), *options],
                capture_output=True,
                text=True,
                timeout=DEADLINE_S,
                check=False,
            )
            assert ran.returncode == 1, ran.stderr
            errors = [line for line in ran.stderr.splitlines() if line.startswith("error: ")]
            assert len(errors) == 1, ran.stderr
            assert str(port) in errors[0]
            assert "Traceback" not in ran.stderr
