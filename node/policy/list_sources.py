"""Where lists come from: files, HTTPS and sites. Each gives the bytes of a list, or says that nothing changed."""

from __future__ import annotations

import os
import stat
import time
from dataclasses import dataclass, replace
from typing import ClassVar, Protocol
from urllib.parse import urlsplit

import httpx

from node.policy.list_files import Subscription
from node.store.errors import BlockCorrupt, BlockMissing
from node.store.port import SiteRecord
from protocol.cid import Cid
from protocol.deny_index import Built
from protocol.denylist import LineError
from protocol.domain_blocks import denylist_of, is_domain_csv, parse_domain_csv
from protocol.errors import DecodeError, OperatorError
from protocol.limits import DENYLIST_ERRORS_MAX, DENYLIST_MAX_BYTES
from protocol.site_id import SiteId
from protocol.walk import DirectoryList, FileCursor, NotFoundInTree, inline_block

FILE_MAX_BYTES = DENYLIST_MAX_BYTES
"""Over three million lines; a larger list is taken for a mistake."""

STEP_DEADLINE_S = 20.0
"""For a server to connect, and between two pieces of an answer."""

WHOLE_DEADLINE_S = 300.0
"""For a list to arrive over HTTPS."""

REDIRECTS_MAX = 3
ENTRIES_MAX = 10_000
"""Of the folder of a site that is looked through for a list."""

LIST_FILE = "list.deny"

TAG_MAX_CHARS = 1000
"""Of an ETag or a date, which are kept."""


class BlocklistError(OperatorError):
    """The source cannot be used as a list: missing, not a file, unreadable, too large, or no line of it is a
    rule."""

    code: ClassVar[str] = "blocklist-unusable"


class NotHere(BlocklistError):
    """A site of which nothing is kept here yet."""


class Unsettled(Exception):
    """The file was written to while it was read."""


class BlockStore(Protocol):
    def get_block(self, cid: Cid) -> bytes: ...


class SiteStore(BlockStore, Protocol):
    """The part of node.store.port.Store that lists of sites need."""

    def site(self, site: SiteId) -> SiteRecord | None: ...


@dataclass(frozen=True, slots=True)
class Loaded:
    """A list's lines as a denylist. seen, modified: what tells this state from the next. errors: lines of a CSV that
    became no rule, the first DENYLIST_ERRORS_MAX of error_count."""

    raw: bytes
    seen: str
    modified: str = ""
    errors: tuple[LineError, ...] = ()
    error_count: int = 0

    def with_errors(self, built: Built) -> Built:
        """What was built of the lines, with what was left out before."""
        errors = [*self.errors, *built.errors][:DENYLIST_ERRORS_MAX]
        return replace(built, errors=errors, error_count=self.error_count + built.error_count)


def _loaded(source: str, raw: bytes, seen: str, modified: str = "") -> Loaded:
    """Domain blocks in CSV become lines of a denylist, anything else stays as it is. BlocklistError."""
    if not is_domain_csv(raw):
        return Loaded(raw, seen, modified)
    try:
        found = parse_domain_csv(raw)
    except DecodeError as error:
        raise BlocklistError(f"{source} is no list: {error}") from error
    return Loaded(denylist_of(found.blocks), seen, modified, tuple(found.errors), found.error_count)


def file_state(name: str) -> str:
    """Differs when the file was written to, replaced or removed."""
    try:
        return _state(os.stat(name))
    except OSError as error:
        return f"cannot be read: {error.strerror}"


def _state(found: os.stat_result) -> str:
    return f"{found.st_dev}-{found.st_ino}-{found.st_size}-{found.st_mtime_ns}-{found.st_ctime_ns}"


def read_file(name: str) -> Loaded:
    """The file and the state it was read in; BlocklistError, Unsettled."""
    try:
        # O_NONBLOCK: opening a FIFO would wait for its writer.
        descriptor = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            before = os.fstat(file.fileno())
            if not stat.S_ISREG(before.st_mode):
                raise BlocklistError(f"{name} is not a file")
            if before.st_size > FILE_MAX_BYTES:
                raise _too_large(name)
            raw = file.read(FILE_MAX_BYTES + 1)
            after = os.fstat(file.fileno())
    except OSError as error:
        raise BlocklistError(f"{name} cannot be read: {error.strerror}") from error
    if len(raw) > FILE_MAX_BYTES:
        raise _too_large(name)
    if _state(before) != _state(after):
        raise Unsettled
    return _loaded(name, raw, _state(after))


def _too_large(name: str) -> BlocklistError:
    return BlocklistError(f"{name} has more than {FILE_MAX_BYTES // 1024**2} MiB")


def check_url(url: str) -> None:
    """BlocklistError unless the address is https, or http on this machine."""
    hint = "lists are fetched over https only"
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise BlocklistError(f"{url} is no address: {error}", hint=hint) from error
    here = parts.scheme == "http" and parts.hostname in {"127.0.0.1", "::1", "localhost"}
    if not parts.hostname or not (parts.scheme == "https" or here):
        raise BlocklistError(f"{url} is no https address", hint=hint)


def fetch(each: Subscription) -> Loaded | None:
    """The list at an https address, None when it is what it was (conditional request). Authorities other than those
    of the web are named by SSL_CERT_FILE or SSL_CERT_DIR. BlocklistError."""
    headers = {"Accept": "text/plain, */*;q=0.5", "User-Agent": "fednode"}
    if tag := _sendable(each.seen):
        headers["If-None-Match"] = tag
    if modified := _sendable(each.modified):
        headers["If-Modified-Since"] = modified
    try:
        # trust_env would take proxies and passwords from the environment, too.
        tls = httpx.create_ssl_context()
        with httpx.Client(verify=tls, timeout=STEP_DEADLINE_S, trust_env=False) as client:
            return _fetch(client, each.source, headers)
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        raise BlocklistError(f"{each.source} cannot be fetched: {error or type(error).__name__}") from error


def _fetch(client: httpx.Client, url: str, headers: dict[str, str]) -> Loaded | None:
    for _ in range(REDIRECTS_MAX + 1):
        check_url(url)
        with client.stream("GET", url, headers=headers) as response:
            if response.next_request is not None:
                url = str(response.next_request.url)
                continue
            if response.status_code == 304:
                return None
            if response.status_code != 200:
                raise BlocklistError(f"{url} answers with status {response.status_code}")
            raw = _body(response, url)
            told = response.headers
            return _loaded(url, raw, _sendable(told.get("ETag", "")), _sendable(told.get("Last-Modified", "")))
    raise BlocklistError(f"{url} redirects more than {REDIRECTS_MAX} times")


def _sendable(value: str) -> str:
    """What a server said of the state of its list, if it can be sent back; else "", and the list comes whole again."""
    return value if value.isascii() and value.isprintable() and len(value) <= TAG_MAX_CHARS else ""


def _body(response: httpx.Response, url: str) -> bytes:
    until = time.monotonic() + WHOLE_DEADLINE_S
    body = bytearray()
    for piece in response.iter_bytes():
        body += piece
        if len(body) > FILE_MAX_BYTES:
            raise _too_large(url)
        if time.monotonic() > until:
            raise BlocklistError(f"{url} takes longer than {WHOLE_DEADLINE_S:.0f} s")
    return bytes(body)


def site_state(store: SiteStore, source: str) -> str:
    """Differs when another release of the site is kept here; "" when there is none."""
    record = store.site(SiteId.from_text(source))
    return str(record.held.cid) if record is not None and record.held is not None else ""


def read_site(store: SiteStore, each: Subscription) -> Loaded | None:
    """The list of a site: its file list.deny, or the first that ends in .deny; None when the release is the one that
    was read. NotHere, BlocklistError."""
    record = store.site(SiteId.from_text(each.source))
    if record is None or record.held is None or record.held.release.root is None:
        if record is not None and record.ended:
            raise BlocklistError(f"site {each.source} was ended")
        raise NotHere(f"site {each.source} is not here yet; it is followed")
    seen = str(record.held.cid)
    if seen == each.seen:
        return None
    try:
        return _loaded(each.source, _site_file(store, record.held.release.root), seen)
    except (DecodeError, NotFoundInTree, BlockMissing, BlockCorrupt) as error:
        raise BlocklistError(f"site {each.source} has no readable list: {error}") from error


def _site_file(store: SiteStore, root: Cid) -> bytes:
    listing = DirectoryList(root)
    names: dict[str, Cid] = {}
    while (wanted := listing.want()) is not None and len(names) < ENTRIES_MAX:
        names |= {entry.name: entry.cid for entry in listing.feed(block_of(store, wanted)) if _is_list(entry.name)}
    if not names:
        raise NotFoundInTree("no file ends in .deny")
    cursor = FileCursor(names.get(LIST_FILE) or names[min(names)])
    body = bytearray()
    while (wanted := cursor.want()) is not None:
        body += cursor.feed(block_of(store, wanted))
        if len(body) > FILE_MAX_BYTES:
            raise BlocklistError("the list of the site is too large")
    return bytes(body)


def _is_list(name: str) -> bool:
    return name.endswith(".deny")


def block_of(store: BlockStore, cid: Cid) -> bytes:
    """A verified block, from its CID alone if that carries it. FednodeError."""
    inline = inline_block(cid)
    return inline if inline is not None else store.get_block(cid)
