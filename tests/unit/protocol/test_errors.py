from __future__ import annotations

import re

import pytest

from protocol import errors
from protocol.errors import DecodeError, FednodeError, OperatorError, PeerError, Truncated


def every_class(root: type[FednodeError]) -> list[type[FednodeError]]:
    """`root` and what protocol/errors.py derives from it; other packages derive more."""
    derived = [child for child in root.__subclasses__() if child.__module__ == errors.__name__]
    return [root, *(found for child in derived for found in every_class(child))]


def test_each_error_has_a_code_of_its_own() -> None:
    codes = [cls.code for cls in every_class(FednodeError)]
    assert len(codes) > 15
    assert len(set(codes)) == len(codes)
    assert all(re.fullmatch("[a-z]+(-[a-z]+)*", code) for code in codes)


@pytest.mark.parametrize("cls", every_class(FednodeError))
def test_each_error_says_who_must_act(cls: type[FednodeError]) -> None:
    assert cls is FednodeError or issubclass(cls, PeerError) != issubclass(cls, OperatorError)
    assert cls.__doc__


def test_hint_and_offset() -> None:
    error = Truncated("ends early", hint="send the rest", offset=7)
    assert (str(error), error.hint, error.offset) == ("ends early (at byte 7)", "send the rest", 7)
    plain = DecodeError("no")
    assert (str(plain), plain.hint, plain.offset) == ("no", None, None)


def test_an_operator_error_ends_a_command() -> None:
    assert OperatorError.exit_code == 1
