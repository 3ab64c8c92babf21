"""Blocks on their way in are hashed in threads, while they are written (docs/spec/store.md, "Writing")."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Final

from protocol.cid import IDENTITY, Cid
from protocol.errors import OverLimit, UnsupportedHash
from protocol.limits import FOREIGN_BLOCK_MAX_BYTES

_THREADS: Final = min(4, os.cpu_count() or 1)
_LARGE_BLOCK_BYTES: Final = 16 * 1024  # below, handing the interpreter over costs more than the hash
_WORTH_BYTES: Final = 512 * 1024

_pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="block-hash")


class Checking:
    """Each block of a batch once, under its CIDv1; they may be used when `wait` has returned.

    Raises UnsupportedHash or OverLimit at once.
    """

    def __init__(self, incoming: Iterable[tuple[Cid, bytes]]) -> None:
        self.blocks: dict[Cid, bytes] = {}
        items = list(incoming)
        large_bytes = 0
        for cid, data in items:
            if len(data) > FOREIGN_BLOCK_MAX_BYTES:
                raise OverLimit(f"a block of {len(data)} bytes, at most {FOREIGN_BLOCK_MAX_BYTES}")
            if not cid.is_own_kind() and cid.hash_code == IDENTITY:
                raise UnsupportedHash("an identity CID carries its bytes itself and is not stored")
            if len(data) >= _LARGE_BLOCK_BYTES:
                large_bytes += len(data)
            self.blocks[cid.canonical] = data
        self._running: list[Future[None]] = []
        if large_bytes < _WORTH_BYTES:
            _verify(items)
            return
        step = -(-len(items) // _THREADS)
        self._running = [_pool.submit(_verify, items[first : first + step]) for first in range(0, len(items), step)]

    def wait(self) -> None:
        """Raises HashMismatch or UnsupportedHash for the first block that is wrong."""
        for future in self._running:
            future.result()


def _verify(items: Iterable[tuple[Cid, bytes]]) -> None:
    for cid, data in items:
        cid.verify(data)


@contextmanager
def checking(incoming: Sequence[tuple[Cid, bytes]]) -> Iterator[Checking]:
    """That a block is wrong is told before whatever else goes wrong inside."""
    checked = Checking(incoming)
    try:
        yield checked
    except BaseException:
        checked.wait()
        raise


def verified(incoming: Iterable[tuple[Cid, bytes]]) -> dict[Cid, bytes]:
    """Each block once, under its CIDv1. Raises HashMismatch, UnsupportedHash or OverLimit for one that is wrong."""
    checked = Checking(incoming)
    checked.wait()
    return checked.blocks
