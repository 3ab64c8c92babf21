"""Which form of the content a request wants: a page for people, a format that its reader verifies, or another. Pure.

IPFS trustless and path gateway specifications; `format=` in the query beats `Accept` (IPIP-523).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar, Literal
from urllib.parse import parse_qs, quote

from node.gateway.http1 import Request
from protocol import ipns
from protocol.errors import PeerError

Kind = Literal["raw", "car", "ipns-record", "tar", "json", "cbor", "dag-json", "dag-cbor"]
Scope = Literal["block", "entity", "all"]

RAW_TYPE = "application/vnd.ipld.raw"
CAR_TYPE = "application/vnd.ipld.car"
RECORD_TYPE = ipns.MEDIA_TYPE

TAR_TYPE = "application/x-tar"
TRUSTLESS: frozenset[Kind] = frozenset(("raw", "car", "ipns-record"))
"""Downloads that their reader verifies: they need no origin of their own."""
DATA_TYPES: dict[Kind, str] = {
    "json": "application/json",
    "cbor": "application/cbor",
    "dag-json": "application/vnd.ipld.dag-json",
    "dag-cbor": "application/vnd.ipld.dag-cbor",
}
# application/json and application/cbor in Accept are the site's business: its scripts ask so for its files.
_KINDS: dict[str, Kind] = {
    RAW_TYPE: "raw",
    CAR_TYPE: "car",
    RECORD_TYPE: "ipns-record",
    TAR_TYPE: "tar",
    DATA_TYPES["dag-json"]: "dag-json",
    DATA_TYPES["dag-cbor"]: "dag-cbor",
}
_FILENAME_MAX_CHARS = 255
_FIELDS_MAX = 32  # of a query, and of an Accept header
_RANGE = re.compile(r"(-?\d{1,18}):(-?\d{1,18}|\*)", re.ASCII)
_NOT_IN_NAMES = re.compile(r"[^\x20\x21\x23-\x5b\x5d-\x7e]")  # outside of ASCII, quotes, backslashes, controls


class FormatError(PeerError):
    """A form that this gateway does not give, or a request for one that makes no sense; `status` is 400 or 406."""

    code: ClassVar[str] = "bad-format"

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


@dataclass(frozen=True, slots=True)
class EntityBytes:
    """Part of a file, as asked for: first and last byte, negative counts from the end, None is the end."""

    first: int
    last: int | None

    def within(self, size: int) -> tuple[int, int]:
        """(start, stop) in a file of `size` bytes; empty when it lies outside."""
        start = self.first if self.first >= 0 else max(size + self.first, 0)
        last = size - 1 if self.last is None else self.last if self.last >= 0 else size + self.last
        start = min(start, size)
        return start, max(start, min(last + 1, size))


@dataclass(frozen=True, slots=True)
class Wanted:
    """A format that was asked for. scope, part, dups: of a CAR. filename: for the download, or None."""

    kind: Kind
    scope: Scope = "all"
    part: EntityBytes | None = None
    filename: str | None = None
    dups: bool = False

    @property
    def car_type(self) -> str:
        """The Content-Type of a CAR file."""
        return f"{CAR_TYPE}; version=1; order=dfs; dups={'y' if self.dups else 'n'}"

    def disposition(self, name: str) -> str:
        """The value of Content-Disposition; `name` unless the reader asked for another."""
        return disposition("attachment", self.filename or name)


def disposition(how: Literal["inline", "attachment"], name: str) -> str:
    """The value of Content-Disposition (RFC 6266)."""
    plain = _NOT_IN_NAMES.sub("_", name)
    text = f'{how}; filename="{plain}"'
    return text if plain == name else f"{text}; filename*=UTF-8''{quote(name, safe='')}"


def download_wishes(request: Request) -> tuple[str | None, bool]:
    """`filename=` of the query, or None, and whether `download=true` is there."""
    _, _, query = request.target.partition("?")
    if "filename=" not in query and "download=" not in query:
        return None, False
    try:
        fields = parse_qs(query, max_num_fields=_FIELDS_MAX)
    except ValueError:
        return None, False
    return fields.get("filename", [""])[0][:_FILENAME_MAX_CHARS] or None, fields.get("download") == ["true"]


def accepted_data(request: Request) -> Kind | Literal["html"] | None:
    """What the reader accepts first of what a block of data can be given as; None: any."""
    for item in request.headers.get("accept", "").lower().split(",")[:_FIELDS_MAX]:
        name = item.partition(";")[0].strip()
        if name in ("text/html", "application/xhtml+xml"):
            return "html"
        kind = next((kind for kind, media_type in DATA_TYPES.items() if media_type == name), None)
        if kind is not None or name == "*/*":
            return kind
    return None


def wanted(request: Request) -> Wanted | None:
    """The format that is asked for; None for what people read. Raises FormatError."""
    accept = request.headers.get("accept", "").lower()
    _, _, query = request.target.partition("?")
    if "format=" not in query and "application/" not in accept:
        return None
    try:
        fields = parse_qs(query, keep_blank_values=True, max_num_fields=_FIELDS_MAX)
    except ValueError:
        raise FormatError(400, "a query with too many fields") from None
    of_accept, parameters = _of_accept(accept)
    kind = _of_query(fields["format"][0]) if "format" in fields else of_accept
    if kind is None:
        return None
    filename = fields.get("filename", [""])[0][:_FILENAME_MAX_CHARS] or None
    if kind != "car":
        return Wanted(kind, filename=filename)
    given = {name.removeprefix("car-"): fields[name][0] for name in fields if name.startswith("car-")}
    parameters = parameters | given if of_accept == "car" else given
    _check_car(parameters)
    scope, part = _scope(fields)
    return Wanted("car", scope, part, filename, parameters.get("dups") == "y")


def _of_query(name: str) -> Kind | None:
    """None for what is no format of gateways: it may mean something to the site."""
    match name:
        case "raw" | "car" | "ipns-record" | "tar" | "json" | "cbor" | "dag-json" | "dag-cbor":
            return name
        case _:
            return None


def _of_accept(accept: str) -> tuple[Kind | None, dict[str, str]]:
    """The first type in the header that is a format, with its parameters."""
    for item in accept.split(",")[:_FIELDS_MAX]:
        name, *rest = (part.strip() for part in item.split(";"))
        kind = _KINDS.get(name)
        if kind in DATA_TYPES and _takes_anything(accept):
            continue  # whether it is data is known later (accepted_data)
        if kind is not None:
            pairs = (part.partition("=") for part in rest)
            return kind, {key.strip(): value.strip().strip('"') for key, _, value in pairs}
        if name in ("*/*", "text/html", "application/*"):
            return None, {}
    return None, {}


def _takes_anything(accept: str) -> bool:
    return any(item.partition(";")[0].strip() == "*/*" for item in accept.split(",")[:_FIELDS_MAX])


def _check_car(parameters: dict[str, str]) -> None:
    if parameters.get("version", "1") != "1":
        raise FormatError(400, "only CAR version 1 is given")
    if parameters.get("order", "dfs") not in ("dfs", "unk"):
        raise FormatError(400, "an order of blocks that does not exist")
    if parameters.get("dups", "n") not in ("y", "n"):
        raise FormatError(400, "dups is y or n")


def _scope(fields: dict[str, list[str]]) -> tuple[Scope, EntityBytes | None]:
    part = None
    if "entity-bytes" in fields:
        found = _RANGE.fullmatch(fields["entity-bytes"][0])
        if found is None:
            raise FormatError(400, "entity-bytes is not of the form from:to")
        part = EntityBytes(int(found[1]), None if found[2] == "*" else int(found[2]))
        if part.last is not None and part.first >= 0 and 0 <= part.last < part.first:
            raise FormatError(400, "entity-bytes ends before it begins")
    match fields.get("dag-scope", ["entity" if part else "all"])[0]:
        case "block" | "entity" | "all" as scope:
            return scope, part
        case _:
            raise FormatError(400, "dag-scope is block, entity or all")
