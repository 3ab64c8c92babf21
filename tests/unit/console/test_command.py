"""`fednode console`: one address, for as long as it is used; and colours that can be read."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import httpx
import pytest
import trio

import cli.console
from cli.console import ssh_line
from cli.console.serving import serve_console
from cli.errors import CommandError
from cli.main import run
from tests.unit.console.conftest import Node

CSS = (Path(cli.console.__file__).parent / "console.css").read_text("utf-8")


async def test_it_listens_on_loopback(node: Node) -> None:
    paths = node.daemon.paths
    addresses: list[str] = []
    opened = trio.Event()

    def tell(port: int, url: str) -> None:
        assert url.startswith(f"http://127.0.0.1:{port}/open?token=")
        addresses.append(url)
        opened.set()

    async def serve() -> None:
        await serve_console(paths.admin_socket, paths.decisions, port=0, idle_s=1000, opened=tell)

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            await opened.wait()
            async with httpx.AsyncClient(trust_env=False) as http:
                first = await http.get(addresses[0])
                home = re.findall(r'href="([^"]+)"', first.text)[0]
                shown = await http.get(httpx.URL(addresses[0]).join(home))
                assert shown.status_code == 200
                assert "All" in shown.text or "Needs attention" in shown.text
            nursery.cancel_scope.cancel()


async def test_it_ends_when_idle(node: Node) -> None:
    paths = node.daemon.paths
    with trio.fail_after(30):
        await serve_console(paths.admin_socket, paths.decisions, port=0, idle_s=0.1, opened=lambda _port, _url: None)


async def test_a_port_that_is_taken_is_an_error(node: Node) -> None:
    paths = node.daemon.paths
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CommandError, match="cannot listen"):
            await serve_console(
                paths.admin_socket, paths.decisions, port=port, idle_s=1, opened=lambda _port, _url: None
            )


def test_without_a_node_it_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["console", "--data-dir", str(tmp_path)]) == 3
    assert "no fednode daemon" in capsys.readouterr().err


def test_over_ssh_it_names_the_tunnel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSH_CONNECTION", raising=False)
    assert ssh_line(4321) is None
    monkeypatch.setenv("SSH_CONNECTION", "198.51.100.7 50000 192.0.2.1 22")
    monkeypatch.setattr("getpass.getuser", lambda: "anna")
    assert ssh_line(4321) == "ssh -N -L 4321:127.0.0.1:4321 anna@192.0.2.1"


def luminance(colour: str) -> float:
    """By WCAG 2."""
    digits = colour.lstrip("#")
    digits = "".join(char * 2 for char in digits) if len(digits) == 3 else digits
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_colours_have_contrast(scheme: int) -> None:
    block = re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)[scheme]
    colours = dict(re.findall(r"--([a-z-]+): (#[0-9a-fA-F]+)", block))
    assert len(colours) == 11
    for front in ("ink", "soft", "link", "good", "bad", "warn"):
        for back in ("paper", "sheet", "bad-paper") if front in ("ink", "soft", "link", "bad") else ("paper", "sheet"):
            dark, bright = sorted((luminance(colours[front]), luminance(colours[back])))
            assert (bright + 0.05) / (dark + 0.05) >= 4.5, (front, back)
