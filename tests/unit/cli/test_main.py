"""The program as a whole: fast help, errors, exit codes, and documentation of all of it."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from cli.main import VERBS, cli
from config.keyfile import create_key
from tests.unit.cli.conftest import Fednode

ROOT = Path(__file__).parents[3]
DOCS = {name: (ROOT / "docs" / name).read_text("utf-8") for name in ("operators/cli.md", "publishers/publishing.md")}
# What costs tens or hundreds of milliseconds to import.
HEAVY = frozenset(
    ("libp2p", "trio", "cryptography", "rich", "httpx", "starlette", "hypercorn", "httptools", "multiaddr", "msgpack")
)
LIGHT = ("--help", "", "publish --help", "start --help", "status --help", "key new --help")
PROGRAM = """
import sys
from cli.main import run
code = run(sys.argv[1:])
sys.stderr.write(repr((code, sorted(sys.modules))))
"""


def modules_after(arguments: list[str], cwd: Path) -> tuple[int, set[str]]:
    """Exit code of a command in a process of its own, and the top-level modules it had imported at its end."""
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    code, names = eval(ran.stderr[ran.stderr.index("(") :])  # noqa: S307 - our own repr
    return code, {name.partition(".")[0] for name in names}


@pytest.mark.parametrize("line", LIGHT)
def test_help_imports_nothing_heavy(tmp_path: Path, line: str) -> None:
    code, modules = modules_after(line.split(), tmp_path)
    assert code == (0 if line else 2)
    assert not modules & HEAVY


def test_verbs_of_the_keystore_need_no_network(home: Path) -> None:
    _, modules = modules_after(["key", "list"], home)
    assert not modules & (HEAVY - {"cryptography", "msgpack"})


def test_help_shows_every_verb_and_exit_code(fednode: Fednode) -> None:
    shown = fednode("--help").out
    for name, text in VERBS.items():
        assert re.search(rf"^  {name} +{re.escape(text)}$", shown, re.MULTILINE)
    for code in (0, 1, 2, 3, 4, 5, 6, 130):
        assert re.search(rf"^ +{code}  ", shown, re.MULTILINE)


def commands() -> Iterator[tuple[str, click.Command]]:
    """Every verb and subcommand, by what is typed."""
    context = cli.make_context("fednode", ["version"])
    for name in VERBS:
        command = cli.get_command(context, name)
        assert command is not None
        yield name, command
        if isinstance(command, click.Group):
            yield from ((f"{name} {inner}", found) for inner, found in command.commands.items())


COMMANDS = dict(commands())


@pytest.mark.parametrize("name", COMMANDS)
def test_every_verb_explains_its_exit_codes(fednode: Fednode, name: str) -> None:
    ran = fednode(*name.split(), "--help")
    assert ran.code == 0
    if name not in ("version",):
        assert "Exit codes" in ran.out


COMMON = {"--config", "--data-dir", "--json", "--yes", "-y", "--help"}


def section_about(verb: str) -> str:
    """What stands below the heading that names the verb."""
    for text in DOCS.values():
        for section in re.split(r"^##+ ", text, flags=re.MULTILINE)[1:]:
            heading = section.partition("\n")[0]
            if heading.startswith("fednode ") and re.search(rf"\b{verb}\b", heading):
                return section
    raise LookupError(f"no heading names {verb}")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_verb_and_option_is_documented(name: str) -> None:
    verb, _, inner = name.partition(" ")
    section = section_about(verb)
    assert inner in section
    words = COMMON | set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", section))
    for option in COMMANDS[name].params:
        if isinstance(option, click.Option):
            assert set(option.opts) <= words or option.opts[-1] in words, option.opts


def test_documented_exit_codes_are_those_of_the_help(fednode: Fednode) -> None:
    shown = dict(re.findall(r"^ +(\d+)  +(.+)$", fednode("--help").out.partition("Exit codes")[2], re.MULTILINE))
    table = dict(re.findall(r"^\| (\d+) \| (.+) \|$", DOCS["operators/cli.md"], re.MULTILINE))
    assert set(shown) == set(table)
    for code, meaning in shown.items():
        assert table[code].startswith(meaning)


def test_errors_look_the_same(fednode: Fednode, home: Path) -> None:
    for arguments, message, hint in (
        (["publsh"], "there is no verb 'publsh'; did you mean publish?", "fednode --help"),
        (["publish"], "Missing argument 'DIR|BUNDLE'", "fednode publish --help"),
        (["sites", "--nonsense"], "No such option '--nonsense'", "fednode sites --help"),
        (["status", "--config", "missing.toml"], "no configuration file at missing.toml", "fednode init"),
    ):
        ran = fednode(*arguments)
        assert ran.code == 2
        lines = ran.err.splitlines()
        assert lines[0].startswith(f"error: {message}")
        assert lines[1].startswith(f"hint: {hint}")
        assert ran.out == ""


def test_errors_as_json(fednode: Fednode) -> None:
    ran = fednode("publish", "--json")
    assert ran.code == 2
    assert ran.json == {
        "error": {"code": "usage", "message": "Missing argument 'DIR|BUNDLE'", "hint": "fednode publish --help"}
    }


def test_version(fednode: Fednode) -> None:
    version = fednode("version", "--json").json["version"]
    assert fednode("version").out == f"fednode {version}\n"
    assert fednode("--version").out == f"fednode {version}\n"


def test_it_runs_as_a_module_too(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "cli", "version", "--json"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(ran.stdout)["version"]


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """A shell has what it runs in the background ignore Ctrl-C, and so do the children of that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_while_a_node_keeps_us_waiting(home: Path, site_dir: Path) -> None:
    create_key(home / "site.pem")
    run_dir = home / "data/fednode/run"
    run_dir.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(run_dir / "publish.sock"))
        silent.listen()
        silent.settimeout(30)
        process = subprocess.Popen(
            [sys.executable, "-m", "cli", "publish", str(site_dir), "--key", "site.pem"],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            probe, _ = silent.accept()  # looks whether anybody listens
            with probe:
                asking, _ = silent.accept()
                with asking:
                    asking.settimeout(30)
                    assert asking.recv(1)
                    process.send_signal(signal.SIGINT)
                    printed, said = process.communicate(timeout=30)
        finally:
            process.kill()
            process.communicate()
    assert (process.returncode, printed, said) == (130, "", "interrupted\n")


def test_a_reader_of_the_output_may_go_away(tmp_path: Path) -> None:
    """As in `fednode --help | head -1`: no traceback."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    try:
        ran = subprocess.run(
            [sys.executable, "-m", "cli", "--help"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=write_end,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    finally:
        os.close(write_end)
    assert ran.stderr == ""
