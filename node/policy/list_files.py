"""Lists on disk, below DATA_DIR/lists: the catalog of subscriptions, and for each list its lines and their table.

The daemon writes, gateway workers map the same files. A file of lines or a table is named by its content and never
changes; the catalog is replaced by renaming, so that it is always a whole one (docs/spec/policy.md, "Lists on disk").
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, ClassVar, cast

from node.policy.active import ActiveList, ListMode
from node.store.faults import translated
from protocol.deny_index import DenyIndex
from protocol.errors import DecodeError, OperatorError
from protocol.site_id import SiteId

CATALOG = "catalog.json"
_TRIES = 5  # a list may be replaced between reading the catalog and opening its files


class ListsDamaged(OperatorError):
    """The catalog or a list in force cannot be read. Nothing is served before that is mended."""

    code: ClassVar[str] = "lists-damaged"


@dataclass(frozen=True, slots=True)
class Version:
    """One state of a list. digest is the SHA-256 of its lines and
    names its files; empty: there is none yet."""

    digest: str = ""
    rule_count: int = 0
    read_s: int = 0
    problems: tuple[tuple[int, str], ...] = ()
    problem_count: int = 0


@dataclass(frozen=True, slots=True)
class Subscription:
    """A list that the operator subscribed to. source: an absolute path, an https address or a site id. pending: a
    newer version that waits for the operator, with why it does. seen: what tells one state of the source from the
    next (an ETag, a release). error: why the source cannot be used now. checked_s: when it last could. spared: sites
    that are not refused yet, and until when."""

    name: str
    source: str
    mode: ListMode = "enforce"
    cap_sites: int = 10
    quorum: int = 1
    current: Version = field(default_factory=Version)
    pending: Version | None = None
    pending_why: str = ""
    rejected: str = ""
    seen: str = ""
    modified: str = ""
    checked_s: int = 0
    next_s: int = 0
    failures: int = 0
    error: str | None = None
    overruled: tuple[str, ...] = ()
    accepted: tuple[str, ...] = ()
    spared: tuple[tuple[str, int], ...] = ()

    @property
    def kind(self) -> str:
        """What the source is: file, https or site."""
        if self.source.startswith("/"):
            return "file"
        return "https" if "://" in self.source else "site"


class ListFiles:
    """The folder. Reading is for any process; writing is the daemon's alone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._catalog_file = str(folder / CATALOG)  # a Path costs more to make than a file to look at
        self._open: dict[str, DenyIndex] = {}

    def version(self) -> int:
        """Differs from the last answer when lists changed; 0 when there never was one. Costs microseconds."""
        try:
            return os.stat(self._catalog_file).st_mtime_ns
        except FileNotFoundError:
            return 0

    def catalog(self) -> list[Subscription]:
        """Every subscription. ListsDamaged."""
        try:
            raw = (self.folder / CATALOG).read_bytes()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise ListsDamaged(f"{self.folder / CATALOG} cannot be read: {error.strerror}") from error
        try:
            return [_subscription(row) for row in json.loads(raw)["lists"]]
        except (ValueError, TypeError, KeyError) as error:
            raise ListsDamaged(
                f"{self.folder / CATALOG} is damaged: {error}", hint="remove it, and add the lists again"
            ) from error

    def active(self) -> list[ActiveList]:
        """The lists that decide, mapped; a list that stayed the same is not read again. ListsDamaged."""
        for _ in range(_TRIES):
            before = self.version()
            try:
                found = [self._active(each) for each in self.catalog() if each.current.digest]
            except FileNotFoundError as error:
                if before == self.version():
                    raise ListsDamaged(f"a list in force is missing: {error}", hint="add it again") from error
                continue
            used = {each.current.digest for each in self.catalog()}
            self._open = {digest: index for digest, index in self._open.items() if digest in used}
            return found
        raise ListsDamaged("the lists change too quickly to be read")

    def _active(self, each: Subscription) -> ActiveList:
        spared = {SiteId.from_text(site): until_s for site, until_s in each.spared}
        return replace(self.unsparing(each), spared=spared)

    def unsparing(self, each: Subscription) -> ActiveList:
        """A list as it decides once no site is spared. FileNotFoundError, ListsDamaged."""
        index = self.index(each.current.digest)
        return ActiveList(
            each.name,
            each.mode,
            index,
            frozenset(each.overruled),
            frozenset(each.accepted),
            quorum=each.quorum,
        )

    def index(self, digest: str) -> DenyIndex:
        """One state of a list. FileNotFoundError, ListsDamaged."""
        known = self._open.get(digest)
        if known is None:
            try:
                known = DenyIndex(_mapped(self._path(digest, "table")), _mapped(self._path(digest, "deny")))
            except FileNotFoundError:
                raise
            except (OSError, DecodeError) as error:
                raise ListsDamaged(f"a list in force cannot be read: {error}", hint="add it again") from error
            self._open[digest] = known
        return known

    def save_version(self, raw: bytes, table: bytes) -> str:
        """The digest under which lines and table are now durable. OperatorError."""
        digest = hashlib.sha256(raw).hexdigest()
        with translated(self.folder, "writing a list"):
            self.folder.mkdir(mode=0o700, exist_ok=True, parents=True)
            for ending, data in (("deny", raw), ("table", table)):
                _write(self._path(digest, ending), data)
        return digest

    def save_catalog(self, lists: Iterable[Subscription]) -> None:
        """In force for every process once this returns, and durable. OperatorError."""
        rows = sorted(lists, key=lambda each: each.name)
        raw = json.dumps({"version": 1, "lists": [asdict(row) for row in rows]}).encode()
        with translated(self.folder, "writing the catalog of lists"):
            self.folder.mkdir(mode=0o700, exist_ok=True, parents=True)
            # The time of the file is its version: it has to move with every change, however fast they come.
            _write(self.folder / CATALOG, raw, after_ns=self.version())
            self._sweep(rows)

    def _sweep(self, lists: Iterable[Subscription]) -> None:
        """Removes the files of versions that nothing refers to; who has them mapped keeps them."""
        used = {version.digest for each in lists for version in (each.current, each.pending) if version is not None}
        # What is mapped keeps its bytes on disk, though its name is gone.
        self._open = {digest: index for digest, index in self._open.items() if digest in used}
        for path in self.folder.iterdir():
            if path.suffix in {".deny", ".table", ".new"} and path.stem not in used:
                path.unlink(missing_ok=True)

    def _path(self, digest: str, ending: str) -> Path:
        return self.folder / f"{digest}.{ending}"


def _mapped(path: Path) -> memoryview:
    with open(path, "rb") as file:
        if os.fstat(file.fileno()).st_size == 0:  # cannot be mapped
            return memoryview(b"")
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def _write(path: Path, data: bytes, *, after_ns: int | None = None) -> None:
    new = path.with_suffix(".new")
    with open(new, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(data)
        file.flush()
        if after_ns is not None:
            now_ns = max(os.fstat(file.fileno()).st_mtime_ns, after_ns + 1)
            os.utime(file.fileno(), ns=(now_ns, now_ns))
        os.fsync(file.fileno())
    os.replace(new, path)
    with _folder_fd(path.parent) as folder:
        os.fsync(folder)


@contextmanager
def _folder_fd(folder: Path) -> Iterator[int]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _version(row: dict[str, Any]) -> Version:
    return Version(**{**row, "problems": tuple((line, text) for line, text in row["problems"])})


def _subscription(row: dict[str, Any]) -> Subscription:
    known = {each.name for each in fields(Subscription)}
    found = Subscription(**{name: value for name, value in row.items() if name in known})
    pending = cast("dict[str, Any] | None", row["pending"])
    return replace(
        found,
        current=_version(row["current"]),
        pending=_version(pending) if pending is not None else None,
        overruled=tuple(found.overruled),
        accepted=tuple(found.accepted),
        spared=tuple((site, until_s) for site, until_s in found.spared),
    )
