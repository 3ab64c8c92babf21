"""doctor: each finding on a machine that has it."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest

from cli.checks import Check, local_checks
from config import Config
from config.keyfile import create_key
from config.schema import GatewaySettings, HostingSettings, NetworkSettings
from tests.unit.cli.conftest import Fednode
from tests.unit.cli.small_daemon import SmallDaemon

QUIET = GatewaySettings(listen=("127.0.0.1:0",))
NETWORK = NetworkSettings(listen=("/ip4/127.0.0.1/tcp/0",))


def found(config: Config, name: str, *, running: bool = False) -> Check:
    return next(check for check in local_checks(config, running=running) if check.name == name)


def test_all_is_well_on_a_fresh_machine(home: Path) -> None:
    config = Config(data_dir=home / "data", gateway=QUIET, network=NETWORK, hosting=HostingSettings(quota_bytes=1000))
    assert [check for check in local_checks(config, running=False) if not check.ok] == []


def test_a_data_dir_that_others_can_enter(home: Path) -> None:
    folder = home / "data"
    folder.mkdir(mode=0o755)
    folder.chmod(0o755)
    check = found(Config(data_dir=folder), "data dir")
    assert (check.ok, check.hint) == (False, f"chmod 700 {folder}")


def test_keys_that_others_can_read(home: Path) -> None:
    config = Config(data_dir=home / "data")
    create_key(home / "data/node.pem")
    create_key(home / "config/fednode/keys/blog.pem")
    assert found(config, "node key").ok
    assert found(config, "site key").ok
    for name, path in (("node key", home / "data/node.pem"), ("site key", home / "config/fednode/keys/blog.pem")):
        path.chmod(0o644)
        check = found(config, name)
        assert (check.ok, check.hint) == (False, f"chmod 600 {path}")


def test_ports_that_are_taken(home: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        config = Config(
            data_dir=home / "data",
            gateway=GatewaySettings(listen=(f"127.0.0.1:{port}",)),
            network=NetworkSettings(listen=(f"/ip4/127.0.0.1/tcp/{port}",)),
        )
        for name in ("gateway port", "libp2p port"):
            check = found(config, name)
            assert not check.ok
            assert f"127.0.0.1:{port}" in check.message
        assert not [check for check in local_checks(config, running=True) if "port" in check.name]


def test_too_little_disk_for_the_quota(home: Path) -> None:
    check = found(Config(data_dir=home / "data", hosting=HostingSettings(quota_bytes=2**60)), "disk space")
    assert not check.ok
    assert "quota_bytes" in (check.hint or "")


def test_clocks_that_cannot_be_right(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = Config(data_dir=home / "data")
    create_key(home / "data/node.pem")
    assert found(config, "clock").ok
    now_s = time.time()
    monkeypatch.setattr(time, "time", lambda: now_s - 3 * 86_400)
    assert "from the future" in found(config, "clock").message
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert "1970-01-01" in found(config, "clock").message


def test_an_open_gateway_without_a_name(home: Path) -> None:
    config = Config(data_dir=home / "data", gateway=GatewaySettings(listen=("192.0.2.1:8080",)))
    assert not found(config, "domains", running=True).ok


def test_doctor_without_and_with_a_daemon(fednode: Fednode, home: Path) -> None:
    ran = fednode("doctor")
    assert ran.code == 1
    assert "BAD  daemon: no fednode daemon" in ran.out
    assert "hint: fednode start" in ran.out


def test_doctor_asks_the_daemon(fednode: Fednode, daemon: SmallDaemon) -> None:
    ran = fednode("doctor", "--json")
    rows = {row["name"]: row for row in ran.json["checks"]}
    assert rows["daemon"]["ok"]
    assert rows["quota"]["ok"]
    assert all(row["hint"] for row in rows.values() if not row["ok"])
    assert ran.code == (0 if all(row["ok"] for row in rows.values()) else 1)


def test_a_broken_configuration_is_an_error(fednode: Fednode, home: Path) -> None:
    (home / "bad.toml").write_text("[gateway]\nworkers = 'many'\n")
    assert fednode("doctor", "--config", "bad.toml").code == 2
