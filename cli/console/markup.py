"""HTML that cannot be broken out of: whatever is not `Html` is text, and is escaped where it is put in. Pure.

Text of others may hold characters that hide or reorder what is read. They are shown by their numbers, and each text is
kept apart from its surroundings by <bdi> where its direction could matter.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from functools import cache
from html import escape

ODD = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))
VOID = frozenset(("br", "input", "link", "meta"))


class Html(str):
    """Markup that is finished. Anything done to it as a string gives plain text again, which is escaped once more."""

    __slots__ = ()


Content = str | int | float | None | Iterable["Content"]
Attribute = str | int | bool | None


def el(name: str, /, *content: Content, **attributes: Attribute) -> Html:
    """An element. Attributes: `class_` is class, `data_key` is data-key; None and False are left out."""
    given = "".join(_attribute(key, value) for key, value in attributes.items())
    if name in VOID:
        return Html(f"<{name}{given}>")
    return Html(f"<{name}{given}>{join(*content)}</{name}>")


def join(*content: Content) -> Html:
    """One after the other."""
    return Html("".join(map(_put, content)))


def text(value: object, *, lines: bool = False) -> Html:
    """Text of others, safe and without anything hidden. lines: line breaks and tabs stay what they are."""
    return Html(
        "".join(
            escape(char) if unicodedata.category(char) not in ODD or (lines and char in "\n\t") else _odd(char)
            for char in str(value)
        )
    )


def spoken(value: object) -> str:
    """Text of others for an attribute that people are told: like `text`, without markup."""
    return "".join(char if unicodedata.category(char) not in ODD else f"U+{ord(char):04X}" for char in str(value))


def bdi(value: object) -> Html:
    """Text of others within a line, whatever direction it runs in; nothing for nothing."""
    return Html(f"<bdi>{text(value)}</bdi>") if value != "" else Html("")


def code(value: object) -> Html:
    """A name that is to be read letter by letter."""
    return Html(f'<code dir="ltr">{text(value)}</code>')


def _put(content: Content) -> str:
    if content is None:
        return ""
    if isinstance(content, Html):
        return str(content)
    if isinstance(content, (str, int, float)):
        return str(text(content))
    return "".join(map(_put, content))


def _attribute(key: str, value: Attribute) -> str:
    name = key.rstrip("_").replace("_", "-")
    if value is None or value is False:
        return ""
    # A form gives back what stands here: nothing but the quoting may change it.
    return f" {name}" if value is True else f' {name}="{escape(str(value))}"'


@cache
def _odd(char: str) -> str:
    number = f"U+{ord(char):04X}"
    name = unicodedata.name(char, "control character")
    return f'<span class="odd" title="{escape(name)}">{number}</span>'
