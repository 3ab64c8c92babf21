"""Where settings come from, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from config import Config, ConfigError, load
from config.load import find_file
from protocol.site_id import SiteId

SITE = SiteId.from_public_bytes(bytes([3]) * 32)


def env(home: Path, **more: str) -> dict[str, str]:
    return {"HOME": str(home), **more}


def written(folder: Path, text: str) -> Path:
    path = folder / "fednode.toml"
    path.write_text(text, encoding="utf-8")
    return path


def refused(folder: Path, text: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load(written(folder, text), env=env(folder))
    return caught.value


def test_defaults_without_any_file(tmp_path: Path) -> None:
    loaded = load(env=env(tmp_path))
    assert loaded.config == Config(data_dir=tmp_path / ".local/share/fednode")
    assert loaded.file is None
    assert set(loaded.origins.values()) == {"default"}


def test_later_sources_win_and_say_so(tmp_path: Path) -> None:
    file = written(tmp_path, '[gateway]\nworkers = 2\nlist_sites = true\n[log]\nlevel = "debug"\n')
    variables = env(tmp_path, FEDNODE_GATEWAY_WORKERS="3", FEDNODE_LOG_LEVEL="error")
    loaded = load(file, env=variables, flags={"log.level": ("--log-level", "warning")})
    assert loaded.config.gateway.list_sites is True
    assert loaded.config.gateway.workers == 3
    assert loaded.config.log.level == "warning"
    assert loaded.origins["gateway.list_sites"] == f"file {file}"
    assert loaded.origins["gateway.workers"] == "env FEDNODE_GATEWAY_WORKERS"
    assert loaded.origins["log.level"] == "flag --log-level"
    assert loaded.origins["gateway.listen"] == "default"


def test_every_kind_of_value_from_the_file(tmp_path: Path) -> None:
    text = f"""
data_dir = "data"
[node]
name = "Anna's node"
[network]
listen = ["/ip4/0.0.0.0/tcp/4101", "/ip6/::/tcp/4101"]
bootstrap = ["/dns4/host.example.org/tcp/4101/p2p/12D3KooWDVgXx4zcLZT6vhXA8m3LVYSum33U5XKfRo65pWHgqJTN"]
dht = false
[gateway]
listen = ["[::1]:9000"]
domains = ["Sites.Example.ORG."]
[hosting]
mode = "follow"
follow = ["{SITE}"]
quota_bytes = "1.5 GiB"
max_site_bytes = "none"
"""
    config = load(written(tmp_path, text), env=env(tmp_path)).config
    assert config.data_dir == tmp_path / "data"
    assert config.node.name == "Anna's node"
    assert config.network.listen == ("/ip4/0.0.0.0/tcp/4101", "/ip6/::/tcp/4101")
    assert config.network.dht is False
    assert config.gateway.listen == ("[::1]:9000",)
    assert config.gateway.domains == ("sites.example.org",)
    assert config.hosting.follow == (SITE,)
    assert config.hosting.quota_bytes == 3 * 2**29
    assert config.hosting.max_site_bytes is None


def test_lists_in_the_environment_are_separated_by_commas(tmp_path: Path) -> None:
    variables = env(tmp_path, FEDNODE_GATEWAY_LISTEN="127.0.0.1:1, [::1]:2", FEDNODE_HOSTING_FOLLOW="")
    config = load(env=variables).config
    assert config.gateway.listen == ("127.0.0.1:1", "[::1]:2")
    assert config.hosting.follow == ()


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("[gatway]\nlisten = []\n", "unknown setting gatway", None),
        ("[gateway]\nlistn = []\n", "unknown setting gateway.listn", "did you mean gateway.listen?"),
        ("dat_dir = '/x'\n", "unknown setting dat_dir", "did you mean data_dir?"),
        ("gateway = 3\n", "must be a section", None),
        ("[gateway\n", "not valid TOML", None),
        ("[gateway]\nworkers = 65\n", "from 0 to 64", "expected: whole number, 0 to 64"),
        ("[gateway]\nworkers = true\n", "whole number", None),
        ("[gateway]\nworkers = 2.0\n", "whole number", None),
        ("[gateway]\nlisten = '127.0.0.1'\n", "host:port", None),
        ("[gateway]\nlisten = [8080]\n", "must be text", None),
        ("[gateway]\nlist_sites = 'perhaps'\n", "true or false", None),
        ("[network]\nlisten = ['/ip4/127.0.0.1/udp/1']\n", "/tcp/", None),
        ("[network]\nbootstrap = ['/ip4/127.0.0.1/tcp/1']\n", "/p2p/ID", None),
        ("[hosting]\nmode = 'closed'\n", "one of open, follow, invite, none", None),
        ("[hosting]\nquota_bytes = -1\n", "from 0", None),
        ("[hosting]\nquota_bytes = '10 apples'\n", "must be a size", None),
        ("[hosting]\nfollow = ['k51nonsense']\n", "hosting.follow", None),
        ("[node]\nname = 7\n", "must be text", None),
        ('[node]\nname = "a\\nb"\n', "one line", None),
    ],
)
def test_bad_files_name_the_place(tmp_path: Path, text: str, message: str, hint: str | None) -> None:
    error = refused(tmp_path, text)
    assert message in str(error)
    assert "fednode.toml" in str(error)
    if hint is not None:
        assert error.hint == hint


def test_a_typo_in_the_environment_is_found(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(env=env(tmp_path, FEDNODE_GATEWAY_LISTN="127.0.0.1:1"))
    assert caught.value.hint == "did you mean FEDNODE_GATEWAY_LISTEN?"


def test_other_variables_of_fednode_are_left_alone(tmp_path: Path) -> None:
    load(env=env(tmp_path, FEDNODE_KEY_PASSPHRASE="secret", FEDNODE_PYTHON="python3.12"))


def test_files_are_looked_for_in_order(tmp_path: Path) -> None:
    xdg = tmp_path / "xdg"
    variables = env(tmp_path, XDG_CONFIG_HOME=str(xdg))
    named = written(tmp_path, "")
    assert find_file(None, variables) is None
    (xdg / "fednode").mkdir(parents=True)
    users = written(xdg / "fednode", "")
    assert find_file(None, variables) == users
    assert find_file(None, variables | {"FEDNODE_CONFIG": str(named)}) == named
    assert find_file(users, variables | {"FEDNODE_CONFIG": str(named)}) == users


def test_a_place_that_cannot_be_looked_at_is_named(tmp_path: Path) -> None:
    """As /root/.config, when a command is run as another user with the HOME of root."""
    place = tmp_path / ("x" * 300)
    for variables in (env(tmp_path, XDG_CONFIG_HOME=str(place)), env(tmp_path, FEDNODE_CONFIG=str(place))):
        with pytest.raises(ConfigError, match="cannot read") as caught:
            find_file(None, variables)
        assert "HOME" in str(caught.value.hint)


def test_a_named_file_must_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no configuration file"):
        load(tmp_path / "missing.toml", env=env(tmp_path))


def test_relative_xdg_folders_are_ignored(tmp_path: Path) -> None:
    config = load(env=env(tmp_path, XDG_DATA_HOME="relative")).config
    assert config.data_dir == tmp_path / ".local/share/fednode"


def test_a_huge_or_binary_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "fednode.toml"
    file.write_bytes(b"#" * (1024 * 1024 + 1))
    with pytest.raises(ConfigError, match="no configuration file"):
        load(file, env=env(tmp_path))
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not valid TOML"):
        load(file, env=env(tmp_path))


def test_data_dirs_too_long_for_sockets_are_refused(tmp_path: Path) -> None:
    flags: dict[str, tuple[str, Any]] = {"data_dir": ("--data-dir", "/" + "x" * 95)}
    with pytest.raises(ConfigError, match="too long"):
        load(env=env(tmp_path), flags=flags)
    load(env=env(tmp_path), flags={"data_dir": ("--data-dir", "/" + "x" * 80)})
