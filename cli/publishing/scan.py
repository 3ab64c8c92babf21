"""Reading a folder's structure: what is published, what is left out, and what cannot be published.

Left out are names that begin with a dot, except `.well-known`, unless asked for. Links stay links, unless
they are to be followed. Nothing but folders, regular files and links can be published; the first of
another kind is an error.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field

from cli.errors import FolderError

DEPTH_MAX = 200  # folders inside folders; readers' URLs and the gateway's path walk end long before
ENTRIES_MAX = 10_000_000  # files, folders and links in all, so that a wrong folder (such as /) ends with an error


@dataclass(frozen=True, slots=True)
class ScannedFile:
    """A regular file as it was seen: `path` as the system takes it, size in bytes, time of change."""

    path: str
    size_bytes: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class ScannedLink:
    """A symbolic link that stays one."""

    target: bytes


@dataclass(slots=True)
class ScannedFolder:
    """Entries by name; names that are not UTF-8 carry surrogate escapes, as os.fsdecode makes them."""

    entries: dict[str, ScannedFile | ScannedLink | ScannedFolder] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ScanOptions:
    """`hidden`: names with a leading dot, too. `dereference`: publish what links point to, not the links."""

    hidden: bool = False
    dereference: bool = False


@dataclass(slots=True)
class Scan:
    """What was found, with sums; `outward_links` are relative paths of links that leave the folder."""

    root: ScannedFolder
    files: int = 0
    size_bytes: int = 0
    outward_links: list[str] = field(default_factory=list)


def scan_folder(path: str, options: ScanOptions) -> Scan:
    """The structure below `path`. FolderError names the first entry that cannot be published."""
    scanner = _Scanner(path, options)
    try:
        scanner.scan.root = scanner.folder(path, ())
    except OSError as error:
        raise FolderError(f"cannot read {error.filename or path}: {error.strerror}") from error
    return scanner.scan


def files_of(folder: ScannedFolder) -> Iterator[ScannedFile]:
    """Every file, depth first, in the order of names: the order in which the tree is built."""
    for entry in folder.entries.values():
        if isinstance(entry, ScannedFolder):
            yield from files_of(entry)
        elif isinstance(entry, ScannedFile):
            yield entry


class _Scanner:
    def __init__(self, base: str, options: ScanOptions) -> None:
        self.base = base
        self.options = options
        self.scan = Scan(ScannedFolder())
        self._entries = 0

    def folder(self, path: str, ancestors: tuple[tuple[int, int], ...]) -> ScannedFolder:
        """`ancestors`: (device, inode) of the folders above; a followed link back to one would never end."""
        status = os.stat(path)
        identity = (status.st_dev, status.st_ino)
        if identity in ancestors:
            raise FolderError(f"{path} leads back to a folder that it is in", hint="publish without --dereference")
        if len(ancestors) >= DEPTH_MAX:
            raise FolderError(f"{path} lies deeper than {DEPTH_MAX} folders")
        with os.scandir(path) as found:
            children = sorted((child for child in found if self._wanted(child.name)), key=_name_bytes)
        self._entries += len(children)
        if self._entries > ENTRIES_MAX:
            raise FolderError(f"{self.base} has more than {ENTRIES_MAX} entries")
        below = (*ancestors, identity)
        return ScannedFolder({child.name: self._entry(child, below) for child in children})

    def _wanted(self, name: str) -> bool:
        return self.options.hidden or not name.startswith(".") or name == ".well-known"

    def _entry(
        self, child: os.DirEntry[str], ancestors: tuple[tuple[int, int], ...]
    ) -> ScannedFile | ScannedLink | ScannedFolder:
        follow = self.options.dereference
        if child.is_symlink() and not follow:
            return self._link(child)
        if child.is_dir(follow_symlinks=follow):
            return self.folder(child.path, ancestors)
        status = self._stat(child, follow)
        if not stat.S_ISREG(status.st_mode):
            raise FolderError(
                f"{child.path} is neither a file nor a folder nor a link", hint="move it out of the folder"
            )
        self.scan.files += 1
        self.scan.size_bytes += status.st_size
        return ScannedFile(child.path, status.st_size, status.st_mtime_ns)

    def _stat(self, child: os.DirEntry[str], follow: bool) -> os.stat_result:
        try:
            return child.stat(follow_symlinks=follow)
        except FileNotFoundError:
            if child.is_symlink():
                raise FolderError(f"{child.path} is a link to nothing", hint="publish without --dereference") from None
            raise

    def _link(self, child: os.DirEntry[str]) -> ScannedLink:
        target = os.readlink(os.fsencode(child.path))
        if _leaves(os.fsencode(self.base), os.fsencode(child.path), target):
            self.scan.outward_links.append(os.path.relpath(child.path, self.base))
        return ScannedLink(target)


def _leaves(base: bytes, link: bytes, target: bytes) -> bool:
    """Whether a link points out of the folder, by its text alone."""
    if os.path.isabs(target):
        return True
    aim = os.path.normpath(os.path.join(os.path.relpath(os.path.dirname(link), base), target))
    return aim == b".." or aim.startswith(b"../")


def _name_bytes(child: os.DirEntry[str]) -> bytes:
    return os.fsencode(child.name)
