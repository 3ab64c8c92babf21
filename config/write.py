"""The TOML file that `fednode init` writes: every setting with its sentence, defaults commented out."""

from __future__ import annotations

import os
import secrets
import textwrap
from collections.abc import Iterator
from pathlib import Path

from config.errors import ConfigError
from config.load import default_data_dir
from config.schema import SECTIONS, Config, Setting, settings, value_of

_HEAD = """\
# fednode.toml: settings of one node.
# A line that starts with '#' shows a default; remove the '#' to change it.
# The environment (FEDNODE_SECTION_KEY) and flags come before this file.
# `fednode config` shows what is in force and where it came from.
"""


def render(config: Config) -> str:
    """The file's text: values that differ from the default stand, the others are comments."""
    lines = [_HEAD]
    section = ""
    for item in settings():
        if item.section != section:
            section = item.section
            lines.append(_comment(SECTIONS[section].__doc__ or "") + f"[{section}]\n")
        lines.append("\n".join(_entry(config, item)) + "\n")
    return "\n".join(lines)


def _comment(text: str) -> str:
    return "".join(f"# {line}\n" for line in textwrap.wrap(text, 100))


def _entry(config: Config, item: Setting) -> Iterator[str]:
    yield _comment(f"{item.doc} ({item.kind.syntax})").rstrip("\n")
    value = value_of(config, item)
    default = default_data_dir(os.environ) if item.key == "data_dir" else item.default
    mark = "# " if value == default else ""
    yield f"{mark}{item.key} = {item.kind.render(value)}"


def write_new(path: Path, text: str, *, mode: int = 0o644) -> None:
    """Write a file that must not exist yet, all or nothing; makes its folders. ConfigError if it is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="utf-8") as handle:
            handle.write(text)
            handle.flush()
            os.fsync(handle.fileno())
        os.link(temporary, path)  # unlike rename, link never replaces a file
    except FileExistsError:
        raise ConfigError(f"{path} is there already", hint="edit it, or remove it first") from None
    finally:
        temporary.unlink(missing_ok=True)
