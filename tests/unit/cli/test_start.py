"""init, start and config: what they write, open and say. Real starts are in tests/integration/test_start.py."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from cli.start import open_addresses, open_flags, say_what_is_open
from config import Config, load
from config.schema import GatewaySettings, LogSettings, NetworkSettings
from tests.unit.cli.conftest import Fednode


def opened(config: Config, *, has_ipv6: bool) -> Config:
    return load(env={"HOME": str(config.data_dir)}, flags=open_flags(config, has_ipv6=has_ipv6)).config


def test_public_opens_every_address_on_the_same_ports(home: Path) -> None:
    config = Config(
        data_dir=home,
        gateway=GatewaySettings(listen=("127.0.0.1:8080", "[::1]:8080", "127.0.0.1:9000")),
        network=NetworkSettings(listen=("/ip4/127.0.0.1/tcp/4101",)),
    )
    both = opened(config, has_ipv6=True)
    assert both.gateway.listen == ("0.0.0.0:8080", "[::]:8080", "0.0.0.0:9000", "[::]:9000")
    assert both.network.listen == ("/ip4/0.0.0.0/tcp/4101", "/ip6/::/tcp/4101")
    only4 = opened(config, has_ipv6=False)
    assert only4.gateway.listen == ("0.0.0.0:8080", "0.0.0.0:9000")
    assert only4.network.listen == ("/ip4/0.0.0.0/tcp/4101",)


def test_what_is_open_is_what_is_not_loopback(home: Path) -> None:
    assert open_addresses(Config(data_dir=home)) == []
    config = Config(
        data_dir=home,
        gateway=GatewaySettings(listen=("127.0.0.2:1", "[::1]:1", "192.0.2.1:1", "[2001:db8::1]:1", "0.0.0.0:1")),
        network=NetworkSettings(listen=("/ip6/::1/tcp/1", "/ip6/::/tcp/1")),
    )
    assert open_addresses(config) == [
        ("gateway", "192.0.2.1:1"),
        ("gateway", "[2001:db8::1]:1"),
        ("gateway", "0.0.0.0:1"),
        ("libp2p", "/ip6/::/tcp/1"),
    ]


def test_it_is_said_in_the_form_of_the_log(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gateway = GatewaySettings(listen=("0.0.0.0:1",))
    say_what_is_open(Config(data_dir=home, log=LogSettings(format="json")))
    assert capsys.readouterr().err == ""
    say_what_is_open(Config(data_dir=home, gateway=gateway, log=LogSettings(format="json")))
    line = json.loads(capsys.readouterr().err)
    assert line["opened"] == [{"what": "gateway", "address": "0.0.0.0:1"}]
    assert (line["level"], line["message"]) == ("warning", "open to the network")
    say_what_is_open(Config(data_dir=home, gateway=gateway, log=LogSettings(format="human")))
    assert capsys.readouterr().err == "open to the network:\n  gateway  0.0.0.0:1\n"


@pytest.mark.parametrize(
    "arguments", [["--gateway", "8080"], ["--listen", "127.0.0.1:1"], ["--bootstrap", "/ip4/127.0.0.1/tcp/1"]]
)
def test_wrong_addresses_are_refused_before_anything_starts(fednode: Fednode, arguments: list[str]) -> None:
    ran = fednode("start", *arguments)
    assert ran.code == 2
    assert f"(flag {arguments[0]})" in ran.err


def test_init_writes_a_file_and_a_key(fednode: Fednode, home: Path) -> None:
    made = fednode("init", "--json").json
    assert made == {
        "config": f"{home}/config/fednode/fednode.toml",
        "data_dir": f"{home}/data/fednode",
        "node_key": f"{home}/data/fednode/node.pem",
    }
    assert stat.S_IMODE((home / "data/fednode").stat().st_mode) == 0o700
    assert stat.S_IMODE((home / "data/fednode/node.pem").stat().st_mode) == 0o600
    assert load().file == Path(made["config"])
    assert load().config == Config(data_dir=home / "data/fednode")
    again = fednode("init")
    assert (again.code, "there already" in again.err) == (2, True)


def test_init_keeps_a_node_key_and_chosen_places(fednode: Fednode, home: Path) -> None:
    fednode("init")
    key = (home / "data/fednode/node.pem").read_bytes()
    ran = fednode("init", "--config", "other.toml")
    assert ran.code == 0
    assert (home / "data/fednode/node.pem").read_bytes() == key
    assert "next: fednode start --config" in ran.out
    fednode("init", "--config", "third.toml", "--data-dir", "elsewhere")
    assert load(home / "third.toml").config.data_dir == home / "elsewhere"


def test_config_says_where_values_come_from(fednode: Fednode, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "node.toml").write_text("[gateway]\nworkers = 2\n")
    monkeypatch.setenv("FEDNODE_LOG_LEVEL", "debug")
    shown = fednode("config", "--config", "node.toml", "--data-dir", "d", "--json").json
    rows = {row["name"]: (row["value"], row["origin"]) for row in shown["settings"]}
    assert shown["file"] == "node.toml"
    assert rows["gateway.workers"] == (2, "file node.toml")
    assert rows["log.level"] == ("debug", "env FEDNODE_LOG_LEVEL")
    assert rows["data_dir"] == (f"{home}/d", "flag --data-dir")
    assert rows["gateway.listen"] == (["127.0.0.1:8080"], "default")
    assert rows["hosting.max_site_bytes"] == (2 * 2**30, "default")
    text = fednode("config", "--config", "node.toml").out
    assert "gateway.workers" in text
    assert "file node.toml" in text
