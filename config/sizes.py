"""Sizes in bytes, as people write and read them."""

from __future__ import annotations

import re
from typing import Any

_UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_UNITS |= {"KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}
_SIZE = re.compile(r"\s*([0-9]{1,19})(?:\.([0-9]{1,6}))?\s*([KMGT]i?B|B)?\s*", re.IGNORECASE)
SIZE_MAX_BYTES = 2**62  # fits SQLite's and msgpack's integers with room to add


def parse_size(value: Any) -> int:
    """Bytes as an integer, or text with a unit: "10 GiB", "500MB", "4096". ValueError for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(f'must be a size such as "10 GiB", not {value!r}')
    size: int = value if isinstance(value, int) else _parse_text(value)
    if not 0 <= size <= SIZE_MAX_BYTES:
        raise ValueError(f"must be from 0 to {SIZE_MAX_BYTES} bytes, not {value!r}")
    return size


def _parse_text(text: str) -> int:
    match = _SIZE.fullmatch(text)
    if match is None or (match[2] and (match[3] or "B").upper() == "B"):
        raise ValueError(f'must be a size such as "10 GiB", not {text!r}')
    unit = _UNITS[(match[3] or "B").upper()]
    fraction = match[2] or ""
    return int(match[1]) * unit + int(fraction or 0) * unit // int(10 ** len(fraction))


def format_size(size: int) -> str:
    """Exactly `size` in the largest binary unit that divides it: "10 GiB", "1500 B"."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        factor = _UNITS[unit.upper()]
        if size and size % factor == 0:
            return f"{size // factor} {unit}"
    return f"{size} B"


def human_size(size: int) -> str:
    """`size` rounded for people: "70.4 MiB"."""
    if size < 1024:
        return f"{size} B"
    value = float(size)
    for unit in ("KiB", "MiB", "GiB", "TiB"):
        value /= 1024
        if value < 1023.95 or unit == "TiB":
            break
    return f"{value:.1f} {unit}"
