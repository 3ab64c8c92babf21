"""The file that `fednode init` writes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from config import Config, ConfigError, load
from config.schema import GatewaySettings, HostingSettings, LogSettings, NetworkSettings, NodeSettings, settings
from config.write import render, write_new
from protocol.site_id import SiteId

PEER = "/ip4/127.0.0.1/tcp/4101/p2p/12D3KooWDVgXx4zcLZT6vhXA8m3LVYSum33U5XKfRo65pWHgqJTN"


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    config = Config(
        data_dir=tmp_path / 'a "quoted" \\ folder',
        node=NodeSettings(name="Ünïcode 🗼", contact="mailto:a@example.org"),
        network=NetworkSettings(listen=(), bootstrap=(PEER,), dht=False),
        gateway=GatewaySettings(workers=3, list_sites=True, cache_bytes=1),
        hosting=HostingSettings(
            mode="none", follow=(SiteId.from_public_bytes(bytes([3]) * 32),), quota_bytes=5, max_site_bytes=None
        ),
        log=LogSettings(level="debug"),
    )
    file = tmp_path / "fednode.toml"
    file.write_text(render(config), encoding="utf-8")
    assert load(file, env={"HOME": str(tmp_path)}).config == config


def test_defaults_are_comments_and_right_when_uncommented(tmp_path: Path) -> None:
    config = Config(data_dir=tmp_path / "data")
    text = render(config)
    file = tmp_path / "fednode.toml"
    file.write_text(text, encoding="utf-8")
    assert load(file, env={"HOME": str(tmp_path)}).config == config
    uncommented = re.sub(r"^# (\w+ = )", r"\1", text, flags=re.MULTILINE)
    assert uncommented.count(" = ") >= len(list(settings()))
    file.write_text(uncommented, encoding="utf-8")
    assert load(file, env={"HOME": str(tmp_path)}).config == config


def test_every_setting_stands_below_its_sentence(tmp_path: Path) -> None:
    text = " ".join(render(Config(data_dir=tmp_path)).replace("\n# ", " ").split())
    for item in settings():
        assert " ".join(item.doc.split()) in text
        assert f"{item.key} = " in text


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "fednode.toml"
    write_new(file, "one")
    with pytest.raises(ConfigError, match="there already"):
        write_new(file, "two")
    assert file.read_text() == "one"
    assert [path.name for path in file.parent.iterdir()] == ["fednode.toml"]
