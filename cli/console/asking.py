"""What a page of the console is given, and what it gives back."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, urlencode

from cli.console.markup import Html
from cli.errors import WrongUsage
from node.admin.client import AdminClient

FIELDS_MAX = 2000
NOTICES_MAX = 20


@dataclass(frozen=True, slots=True)
class Undo:
    """What takes an action back: a form that is posted to `path`, with the words of its button."""

    words: str
    path: str
    fields: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Notice:
    """What was done, shown once on the next page."""

    said: str
    undo: Undo | None = None


@dataclass(slots=True)
class Session:
    """What lasts from one page to the next."""

    base: str
    csrf: str
    notices: deque[Notice] = field(default_factory=lambda: deque(maxlen=NOTICES_MAX))


@dataclass(frozen=True, slots=True)
class Fields:
    """A query or a form: names with one value or several. WrongUsage for what makes no sense."""

    pairs: Sequence[tuple[str, str]]

    @classmethod
    def read(cls, raw: bytes) -> Fields:
        try:
            return cls(parse_qsl(raw.decode("ascii"), keep_blank_values=True, max_num_fields=FIELDS_MAX))
        except ValueError:
            raise WrongUsage("the form cannot be read, or is too long") from None

    def text(self, name: str, default: str = "") -> str:
        return next((value for key, value in self.pairs if key == name), default).strip()

    def exact(self, name: str) -> str:
        return next((value for key, value in self.pairs if key == name), "")

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.pairs if key == name]

    def number(self, name: str, default: int = 0) -> int:
        said = self.text(name)
        if not said:
            return default
        if not (said.isascii() and said.isdigit() and len(said) <= 15):
            raise WrongUsage(f"{name} must be a whole number")
        return int(said)

    def has(self, name: str) -> bool:
        return any(key == name for key, _ in self.pairs)

    def one_of(self, name: str, choices: Sequence[str]) -> str:
        """The value if it is one of the choices, or ""."""
        return self.text(name) if self.text(name) in choices else ""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that was let in. query is also what stands in the path."""

    client: AdminClient
    session: Session
    query: Fields
    form: Fields
    log: Path
    """The decision log's file, read as `fednode log` reads it."""

    def url(self, path: str, /, **query: object) -> str:
        """Of a page of this console; parameters that are empty are left out."""
        given = {key.rstrip("_"): str(value) for key, value in query.items() if value not in ("", None, 0)}
        return self.session.base + path + (f"?{urlencode(given)}" if given else "")


@dataclass(frozen=True, slots=True)
class Page:
    """here: the page's place in the navigation. keys: single keys that work on it, with what they do."""

    title: str
    body: Html
    here: str = ""
    keys: tuple[tuple[str, str], ...] = ()
    status: int = 200


@dataclass(frozen=True, slots=True)
class Goto:
    """After an action: which page to show, and what to say there."""

    url: str
    notice: Notice | None = None


Answer = Page | Goto
