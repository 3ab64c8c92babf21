"""Where the blocks of a site come from while it is published: a port, and what is common to its kinds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from protocol.cid import Cid
from protocol.dag_walk import DagWalk

LEAVES_AT_ONCE = 64


class BlockSource(Protocol):
    """All blocks under one root. Thread-safe; what `get` returns has just been checked against its CID.

    `size_bytes` and `block_count` sum up the unique blocks, as in a release.
    """

    @property
    def root(self) -> Cid: ...

    @property
    def size_bytes(self) -> int: ...

    @property
    def block_count(self) -> int: ...

    def get(self, cid: Cid) -> bytes | None:
        """The block, None if it is no part of the site. FolderChanged if what lies underneath has changed."""


def in_order(source: BlockSource) -> Iterator[tuple[Cid, bytes]]:
    """Every block once, depth first, parents before children: the order of a bundle."""
    walk = DagWalk(source.root, in_order=True, unique=True, site_only=True)
    while not walk.done:
        for cid in walk.want(LEAVES_AT_ONCE):
            data = source.get(cid)
            if data is None:
                raise LookupError(f"the source lacks {cid} of its own tree")
            walk.feed(cid, data)
            yield cid, data
