"""Strict input of the admin API: JSON objects and query strings against a shape. Anything not named is
refused."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from node.admin.control import BadRequest


class _Required:
    """Marks a field without a default."""


REQUIRED: Final = _Required()


@dataclass(frozen=True, slots=True)
class Field:
    """One member: text of 1 to max_chars characters (0 with allow_empty), a bool, or a whole number in a
    range."""

    kind: type[str] | type[bool] | type[int]
    default: Any = REQUIRED
    choices: tuple[str, ...] = ()
    max_chars: int = 8192
    allow_empty: bool = False
    min_value: int = 0
    max_value: int = 2**53 - 1


Shape = Mapping[str, Field]


def read_object(raw: bytes, shape: Shape) -> dict[str, Any]:
    """The checked members of a JSON object, defaults filled in; BadRequest."""
    try:
        value = json.loads(raw, object_pairs_hook=_no_duplicates, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"the body is not JSON: {str(error)[:200]}") from None
    if not isinstance(value, dict):
        raise BadRequest("the body must be a JSON object")
    return _check(value, shape)


def read_query(items: Iterable[tuple[str, str]], shape: Shape) -> dict[str, Any]:
    """The checked members of a query string; BadRequest."""
    value: dict[str, Any] = {}
    for name, text in items:
        if name in value:
            raise BadRequest(f"query parameter {name[:50]!r} is there twice")
        value[name] = _number(name, text) if name in shape and shape[name].kind is int else text
    return _check(value, shape)


def _number(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 16):
        raise BadRequest(f"{name} must be a whole number")
    return int(text)


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a member is there twice")
    return value


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON value")


def _check(value: dict[str, Any], shape: Shape) -> dict[str, Any]:
    for name in value:
        if name not in shape:
            raise BadRequest(f"unknown field {name[:50]!r}", hint=_known(shape))
    checked = {}
    for name, field in shape.items():
        given = value.get(name, field.default)
        if isinstance(given, _Required):
            raise BadRequest(f"field {name!r} is missing", hint=_known(shape))
        if name in value:
            _check_field(name, given, field)
        checked[name] = given
    return checked


def _known(shape: Shape) -> str:
    return f"the fields here are: {', '.join(shape)}" if shape else "there are no fields here"


def _check_field(name: str, given: object, field: Field) -> None:
    if type(given) is not field.kind:
        raise BadRequest(f"{name} must be {_KIND_NAMES[field.kind]}")
    if isinstance(given, str):
        _check_text(name, given, field)
    elif isinstance(given, int) and field.kind is int and not field.min_value <= given <= field.max_value:
        raise BadRequest(f"{name} must be from {field.min_value} to {field.max_value}")


def _check_text(name: str, given: str, field: Field) -> None:
    if not given and not field.allow_empty:
        raise BadRequest(f"{name} is empty")
    if len(given) > field.max_chars:
        raise BadRequest(f"{name} has {len(given)} characters; at most {field.max_chars} are allowed")
    if any(unicodedata.category(char) in ("Cc", "Cs") and char not in "\n\t" for char in given):
        raise BadRequest(f"{name} has control characters")
    if field.choices and given not in field.choices:
        raise BadRequest(f"{name} must be one of: {', '.join(field.choices)}")


_KIND_NAMES = {str: "text", bool: "true or false", int: "a whole number"}
