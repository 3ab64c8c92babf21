"""Kinds of settings: how each is read from TOML, from text (environment, flags), and written back.

A parser raises ValueError with the end of a sentence ("must be …"); the loader adds whose and from where.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from config.addresses import (
    check_dial_address,
    check_listen_address,
    parse_address_range,
    parse_host_port,
    parse_hostname,
)
from config.sizes import format_size, parse_size
from protocol.limits import STATEMENT_TEXT_MAX_CHARS
from protocol.plain import is_plain_line
from protocol.site_id import SiteId

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Kind(Generic[T]):
    """`syntax` is for documentation; `parse` takes a TOML value or text; `render` gives a TOML literal."""

    syntax: str
    parse: Callable[[Any], T]
    render: Callable[[T], str]


def text_literal(value: str) -> str:
    """A TOML basic string (JSON's escapes are a subset of TOML's)."""
    return json.dumps(value, ensure_ascii=False)


def _parse_text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"must be text, not {value!r}")
    if len(value) > 1000 or any(ord(char) < 32 or ord(char) == 127 for char in value):
        raise ValueError("must be one line of at most 1000 characters")
    return value


def _parse_label(value: Any) -> str:
    text = _parse_text(value)
    if len(text) > STATEMENT_TEXT_MAX_CHARS or not is_plain_line(text):
        raise ValueError(f"must be one line of at most {STATEMENT_TEXT_MAX_CHARS} plain characters")
    return text


def _parse_bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    words = {
        "true": True,
        "yes": True,
        "on": True,
        "1": True,
        "false": False,
        "no": False,
        "off": False,
        "0": False,
    }
    if isinstance(value, str) and value.lower() in words:
        return words[value.lower()]
    raise ValueError(f"must be true or false, not {value!r}")


def _parse_path(value: Any) -> Path:
    text = _parse_text(str(value) if isinstance(value, Path) else value)
    if not text:
        raise ValueError("must not be empty")
    return Path(text).expanduser()


def integer(low: int, high: int) -> Kind[int]:
    """A whole number from `low` to `high`, both included."""

    def parse(value: Any) -> int:
        if isinstance(value, str) and value.strip().isascii() and value.strip().isdigit():
            value = int(value.strip()[:20])
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError(f"must be a whole number from {low} to {high}, not {value!r}")
        return value

    return Kind(f"whole number, {low} to {high}", parse, str)


def choice(*words: str) -> Kind[str]:
    """One of a few words."""

    def parse(value: Any) -> str:
        if value is False and "off" in words:  # `off` unquoted is a mistake that YAML taught
            return "off"
        if value not in words:
            raise ValueError(f"must be one of {', '.join(words)}, not {value!r}")
        return str(value)

    return Kind(" | ".join(f'"{word}"' for word in words), parse, text_literal)


def list_of(syntax: str, item: Callable[[str], T], *, text: Callable[[T], str] = str) -> Kind[tuple[T, ...]]:
    """A list of at most 1000 items without duplicates; as text, separated by commas."""

    def parse(value: Any) -> tuple[T, ...]:
        items = [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value
        if not isinstance(items, list | tuple) or len(items) > 1000:
            raise ValueError(f"must be a list of at most 1000 items, not {value!r}")
        return tuple(dict.fromkeys(item(_parse_text(part)) for part in items))

    def render(values: tuple[T, ...]) -> str:
        return "[" + ", ".join(text_literal(text(value)) for value in values) + "]"

    return Kind(f"list of {syntax}", parse, render)


def _parse_web_address(value: Any) -> str:
    text = _parse_text(value)
    if text and not re.fullmatch(r"https?://[!-;=?-~]+", text, re.ASCII):
        raise ValueError(f"must begin with https:// and have no spaces, not {text!r}")
    return text


def _parse_size_or_none(value: Any) -> int | None:
    return None if value == "none" else parse_size(value)


def _parse_router(text: str) -> str:
    found = _parse_web_address(text)
    if not found:
        raise ValueError("must not be empty")
    return found


def _parse_media_type(text: str) -> str:
    found = text.strip().lower()
    if not re.fullmatch(r"[a-z]+/(\*|[a-z0-9][a-z0-9.+_-]{0,99})", found, re.ASCII):
        raise ValueError(f"must be media types such as text/html or image/*, not {text[:100]!r}")
    return found


TEXT: Kind[str] = Kind("text", _parse_text, text_literal)
LABEL: Kind[str] = Kind("text", _parse_label, text_literal)
WEB_ADDRESS: Kind[str] = Kind("https:// address", _parse_web_address, text_literal)
BOOL: Kind[bool] = Kind("true | false", _parse_bool, lambda value: "true" if value else "false")
PATH: Kind[Path] = Kind("path", _parse_path, lambda value: text_literal(str(value)))
SIZE: Kind[int] = Kind('bytes, or text such as "10 GiB"', parse_size, lambda value: text_literal(format_size(value)))
SIZE_OR_NONE: Kind[int | None] = Kind(
    'bytes, text such as "2 GiB", or "none"',
    _parse_size_or_none,
    lambda value: text_literal("none" if value is None else format_size(value)),
)
HOST_PORTS = list_of('"host:port"', lambda text: str(parse_host_port(text)))
ADDRESS_RANGES = list_of("IP addresses or ranges such as 10.0.0.0/8", parse_address_range)
HOSTNAMES = list_of("host names", parse_hostname)
LISTEN_ADDRESSES = list_of("multiaddrs", check_listen_address)
DIAL_ADDRESSES = list_of("multiaddrs with /p2p/ID", check_dial_address)
WEB_ADDRESSES = list_of("https:// addresses", _parse_router)
SITES = list_of("site ids", SiteId.from_text)
MEDIA_TYPES = list_of("media types", _parse_media_type)
