"""Files by which a site steers its answers: `_redirects`, `_headers`, and precompressed forms beside files.

What is found under a root never changes, because the root is a hash of it all; so it is kept, absences too.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import trio

from node.gateway.encodings import SUFFIXES
from node.gateway.limits import FILES_CACHED_MAX, SITES_CACHED_MAX
from node.gateway.tree import Found, LoadBlock, PathCache
from protocol.cid import Cid
from protocol.file_cursor import FileCursor
from protocol.limits import REDIRECTS_MAX_BYTES, SITE_HEADERS_MAX_BYTES
from protocol.redirects import BadRedirects, Redirects, parse_redirects
from protocol.site_headers import SiteHeaders, parse_site_headers
from protocol.walk import NotFoundInTree, PathWalk

REDIRECTS = "_redirects"
HEADERS = "_headers"
_PARSE_INLINE_MAX_BYTES = 4096  # parsing more could hold up other readers

K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Steering(Generic[V]):
    """A file that was read: where it is, so that policy can be asked about it, and what it says."""

    found: Found
    content: V


class SiteFiles:
    """Reads them; at most so many are kept."""

    def __init__(self, paths: PathCache) -> None:
        self._paths = paths
        self._redirects: _Kept[Cid, Steering[Redirects | BadRedirects] | None] = _Kept(SITES_CACHED_MAX // 4)
        self._headers: _Kept[Cid, Steering[SiteHeaders] | None] = _Kept(SITES_CACHED_MAX // 4)
        self._encoded: _Kept[tuple[Cid, tuple[str, ...]], dict[str, Found]] = _Kept(FILES_CACHED_MAX)

    async def redirects(self, root: Cid, load: LoadBlock) -> Steering[Redirects | BadRedirects] | None:
        """The site's rules, or what is wrong with them; None when it has none. Raises what `load` raises."""
        return await self._steering(self._redirects, root, REDIRECTS, REDIRECTS_MAX_BYTES, _redirects, load)

    async def headers(self, root: Cid, load: LoadBlock) -> Steering[SiteHeaders] | None:
        """The same for response headers."""
        return await self._steering(self._headers, root, HEADERS, SITE_HEADERS_MAX_BYTES, parse_site_headers, load)

    async def encoded(self, root: Cid, path: tuple[str, ...], load: LoadBlock) -> dict[str, Found]:
        """Precompressed forms of the file at a path, by content coding."""
        key = (root, path)
        if key not in self._encoded:
            forms = {}
            folder = (await self._paths.resolve(root, path[:-1], load)).entry
            for coding, suffix in SUFFIXES.items():
                name = path[-1] + suffix
                if folder.kind == "directory" and not await _has(folder.cid, name, load):
                    continue  # as of most files: the way from the root would cost more
                found = await self._file(root, (*path[:-1], name), load)
                if found is not None:
                    forms[coding] = found
            self._encoded.put(key, forms)
        return self._encoded.get(key)

    async def _steering(
        self,
        kept: _Kept[Cid, Steering[V] | None],
        root: Cid,
        name: str,
        max_bytes: int,
        parse: Callable[[bytes], V],
        load: LoadBlock,
    ) -> Steering[V] | None:
        if root not in kept:
            found = await self._file(root, (name,), load)
            if found is None:
                kept.put(root, None)
                return None
            raw = await _read(found, max_bytes + 1, load)
            inline = len(raw) <= _PARSE_INLINE_MAX_BYTES
            kept.put(root, Steering(found, parse(raw) if inline else await trio.to_thread.run_sync(parse, raw)))
        return kept.get(root)

    async def _file(self, root: Cid, path: tuple[str, ...], load: LoadBlock) -> Found | None:
        try:
            found = await self._paths.resolve(root, path, load)
        except NotFoundInTree:
            return None
        return found if found.entry.kind == "file" else None


async def _has(folder: Cid, name: str, load: LoadBlock) -> bool:
    walk = PathWalk(folder, (name,))
    try:
        while walk.position == 0 and (cid := walk.want()) is not None:
            walk.feed(await load(cid))
    except NotFoundInTree:
        return False
    return True


def _redirects(raw: bytes) -> Redirects | BadRedirects:
    try:
        return parse_redirects(raw)
    except BadRedirects as error:
        return error


async def _read(found: Found, max_bytes: int, load: LoadBlock) -> bytes:
    """The file's first bytes."""
    size = min(found.entry.size_bytes, max_bytes)
    cursor, parts = FileCursor(found.entry.cid, 0, size), []
    while (cid := cursor.want()) is not None:
        parts.append(bytes(cursor.feed(await load(cid))))
    return b"".join(parts)


class _Kept(Generic[K, V]):
    """The last `max_count` values, least recently used first out."""

    def __init__(self, max_count: int) -> None:
        self._max_count = max_count
        self._values: OrderedDict[K, V] = OrderedDict()

    def __contains__(self, key: K) -> bool:
        return key in self._values

    def get(self, key: K) -> V:
        self._values.move_to_end(key)
        return self._values[key]

    def put(self, key: K, value: V) -> None:
        self._values[key] = value
        if len(self._values) > self._max_count:
            self._values.popitem(last=False)
