"""Settings from defaults, file, environment and flags, in this order; each knows where it came from."""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from config.errors import ConfigError
from config.paths import Paths
from config.schema import SECTIONS, Config, Setting, settings

CONFIG_FILE_MAX_BYTES = 1024 * 1024  # far above any sane file; keeps a wrong path from filling memory
SYSTEM_FILE = Path("/etc/fednode/fednode.toml")


@dataclass(frozen=True, slots=True)
class Loaded:
    """`origins` maps each setting's name to "default", "file PATH", "env NAME" or "flag --X"."""

    config: Config
    file: Path | None
    origins: Mapping[str, str]


def user_file(env: Mapping[str, str]) -> Path:
    """Where `fednode init` writes: $XDG_CONFIG_HOME/fednode/fednode.toml."""
    return _xdg(env, "XDG_CONFIG_HOME", ".config") / "fednode.toml"


def keys_dir(env: Mapping[str, str] | None = None) -> Path:
    """The publisher's keystore: $XDG_CONFIG_HOME/fednode/keys."""
    return _xdg(os.environ if env is None else env, "XDG_CONFIG_HOME", ".config") / "keys"


def default_data_dir(env: Mapping[str, str]) -> Path:
    """$XDG_DATA_HOME/fednode."""
    return _xdg(env, "XDG_DATA_HOME", ".local/share")


def _xdg(env: Mapping[str, str], variable: str, fallback: str) -> Path:
    base = env.get(variable, "")
    if os.path.isabs(base):  # the XDG specification has relative values ignored
        return Path(base) / "fednode"
    home = env.get("HOME") or os.path.expanduser("~")
    return Path(home) / fallback / "fednode"


def find_file(path: Path | None, env: Mapping[str, str]) -> Path | None:
    """The file to read: a named one must exist; else the first there is of the user's and the system's."""
    named = path or (Path(env["FEDNODE_CONFIG"]) if env.get("FEDNODE_CONFIG") else None)
    if named is not None:
        if not _is_file(named):
            raise ConfigError(f"no configuration file at {named}", hint=f"fednode init --config {named} writes one")
        return named
    return next((candidate for candidate in (user_file(env), SYSTEM_FILE) if _is_file(candidate)), None)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError as error:
        hint = "set HOME to that of the user who runs this, or name a file with --config"
        raise ConfigError(f"cannot read {path}: {error.strerror}", hint=hint) from error


def load(
    path: Path | None = None,
    *,
    env: Mapping[str, str] | None = None,
    flags: Mapping[str, tuple[str, Any]] | None = None,
) -> Loaded:
    """Settings in force. `flags` maps a setting's name to (flag as typed, value). Raises ConfigError."""
    env = os.environ if env is None else env
    file = find_file(path, env)
    values: dict[str, Any] = {"data_dir": default_data_dir(env)}
    origins = {item.name: "default" for item in settings()}
    for item, raw, origin in _sources(file, env, flags or {}):
        values[item.name] = _parse(item, raw, origin, base=file.parent if file and origin.startswith("file") else None)
        origins[item.name] = origin
    config = _build(values)
    Paths(config.data_dir).check()
    return Loaded(config, file, origins)


def _sources(
    file: Path | None, env: Mapping[str, str], flags: Mapping[str, tuple[str, Any]]
) -> Iterator[tuple[Setting, Any, str]]:
    known = {item.name: item for item in settings()}
    if file is not None:
        for name, raw in _flatten(file, _read_toml(file)):
            if name not in known:
                raise _unknown(name, f"file {file}", known)
            yield known[name], raw, f"file {file}"
    yield from _from_env(env, known)
    for name, (flag, raw) in flags.items():
        yield known[name], raw, f"flag {flag}"


def _from_env(env: Mapping[str, str], known: Mapping[str, Setting]) -> Iterator[tuple[Setting, Any, str]]:
    by_env = {item.env_name: item for item in known.values()}
    prefixes = tuple(f"FEDNODE_{section.upper()}_" for section in SECTIONS)
    for variable, raw in sorted(env.items()):
        if variable in by_env:
            yield by_env[variable], raw, f"env {variable}"
        elif variable.startswith(prefixes):
            raise _unknown(variable, "the environment", by_env)


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as handle:
            raw = handle.read(CONFIG_FILE_MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}") from error
    if len(raw) > CONFIG_FILE_MAX_BYTES:
        raise ConfigError(f"{file} is larger than {CONFIG_FILE_MAX_BYTES} bytes; it is no configuration file")
    try:
        return tomllib.loads(raw.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{file} is not valid TOML: {error}") from error


def _flatten(file: Path, table: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if key in SECTIONS:
            if not isinstance(value, dict):
                raise ConfigError(f"file {file}: {key} must be a section, written [{key}]")
            yield from ((f"{key}.{inner}", item) for inner, item in value.items())
        else:
            yield key, value


def _unknown(name: str, where: str, known: Iterable[str]) -> ConfigError:
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    hint = f"did you mean {close[0]}?" if close else "docs/operators/configuration.md lists every setting"
    return ConfigError(f"unknown setting {name} in {where}", hint=hint)


def _parse(item: Setting, raw: Any, origin: str, *, base: Path | None) -> Any:
    try:
        value = item.kind.parse(raw)
    except Exception as error:
        if not isinstance(error, ValueError | ConfigError) and not hasattr(error, "code"):
            raise
        raise ConfigError(f"{item.name} ({origin}): {error}", hint=f"expected: {item.kind.syntax}") from error
    if isinstance(value, Path):
        return Path(os.path.abspath((base or Path.cwd()) / value))
    return value


def _build(values: Mapping[str, Any]) -> Config:
    sections = {
        section: cls(
            **{name.partition(".")[2]: value for name, value in values.items() if name.startswith(section + ".")}
        )
        for section, cls in SECTIONS.items()
    }
    return Config(data_dir=values["data_dir"], **sections)
