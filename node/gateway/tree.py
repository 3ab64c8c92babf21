"""Paths in sites → entries, with what policy and headers need to know of the way there."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Protocol

from node.gateway.limits import CACHED_PATH_MAX_BYTES, FILES_CACHED_MAX, SYMLINKS_MAX
from protocol.cid import Cid
from protocol.data_walk import DATA_CODECS, follow
from protocol.unixfs import DirEntry
from protocol.walk import DirectoryList, Entry, PathWalk


class LoadBlock(Protocol):
    """Loads one verified block of the site at hand; raises Unavailable."""

    async def __call__(self, cid: Cid) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Found:
    """Where a path leads. path: after symlinks. trail: every CID passed. cid_text: of the entry.

    roots_text: CIDs of the site's root and of each name on the way, separated by commas.
    """

    entry: Entry
    path: tuple[str, ...]
    trail: tuple[Cid, ...]
    cid_text: str
    roots_text: str


class PathCache:
    """What was found, by root and path; it never changes, because the root is a hash of it all."""

    def __init__(self) -> None:
        self._found: OrderedDict[tuple[Cid, tuple[str, ...]], Found] = OrderedDict()

    async def resolve(self, root: Cid, segments: tuple[str, ...], load: LoadBlock) -> Found:
        """Raises NotFoundInTree, DecodeError for a site that is not what it should be, and what `load` raises."""
        key = (root, segments)
        found = self._found.get(key)
        if found is not None:
            self._found.move_to_end(key)
            return found
        found = await _walk(root, segments, load)
        if sum(map(len, segments)) <= CACHED_PATH_MAX_BYTES:
            self._found[key] = found
            if len(self._found) > FILES_CACHED_MAX:
                self._found.popitem(last=False)
        return found


async def _walk(root: Cid, segments: tuple[str, ...], load: LoadBlock) -> Found:
    """Through data and UnixFS in turn, since either may link to the other."""
    way = _Way()
    at, rest = root, segments
    while True:
        if at.codec not in DATA_CODECS:
            entry, at, rest = await _walk_unixfs(at, rest, load, way)
            if entry is not None:
                return way.found(entry)
        block = await load(at)
        way.trail.append(at)
        way.roots.append(at)
        if not rest:
            return way.found(Entry("data", at, len(block)))
        at, used = follow(at.codec, block, rest)
        way.path, rest = (*way.path, *rest[:used]), rest[used:]


@dataclass(slots=True)
class _Way:
    """What was passed. roots: CIDs of the root and of each name so far."""

    trail: list[Cid] = field(default_factory=list)
    roots: list[Cid] = field(default_factory=list)
    path: tuple[str, ...] = ()

    def found(self, entry: Entry) -> Found:
        return Found(entry, self.path, tuple(self.trail), str(entry.cid), ",".join(map(str, self.roots)))


async def _walk_unixfs(
    root: Cid, segments: tuple[str, ...], load: LoadBlock, way: _Way
) -> tuple[Entry | None, Cid, tuple[str, ...]]:
    """The entry; None if the path goes on through data, with where and how."""
    walk = PathWalk(root, segments, max_symlinks=SYMLINKS_MAX)
    roots: list[Cid] = []
    last = -1
    while (cid := walk.want()) is not None and cid.codec not in DATA_CODECS:
        if walk.position != last:  # otherwise a shard of the same directory
            last = walk.position
            del roots[last:]
            roots.append(cid)
        walk.feed(await load(cid))
    way.roots += roots
    if cid is not None:
        way.trail += walk.trail[:-1]
        way.path = (*way.path, *walk.path[: walk.position])
        return None, cid, walk.path[walk.position :]
    way.trail += walk.trail
    way.path = (*way.path, *walk.path)
    return walk.result, root, ()


async def list_directory(cid: Cid, limit: int, load: LoadBlock) -> tuple[list[DirEntry], bool]:
    """Up to `limit` entries, sorted by name as far as they were read, and whether there are more."""
    listing = DirectoryList(cid)
    entries: list[DirEntry] = []
    while len(entries) <= limit and (wanted := listing.want()) is not None:
        entries += listing.feed(await load(wanted))
    more = len(entries) > limit or listing.want() is not None
    return sorted(entries[:limit], key=lambda entry: entry.name), more
