"""Pack files: CARv1, written only at the end of the newest one (docs/spec/store.md, "Packs")."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from node.store import layout
from node.store.faults import translated
from node.store.files import Buffer, Files
from node.store.index import Index
from protocol import car
from protocol.cid import Cid

_WRITE_BYTES: Final = layout.MIB  # at once; for larger writes Linux wants larger stretches of memory, which is slow
_START_BYTES: Final = 4 * layout.MIB  # the disk takes these while the next are written

HEADER = car.encode_header([Cid(layout.PACK_ROOT)])


class Place(NamedTuple):
    """A section of a pack: `start` and `span` cover its length prefix, CID and `length` bytes of data."""

    pack: int
    start: int
    span: int
    length: int

    @property
    def data_offset(self) -> int:
        return self.start + self.span - self.length


class PackWriter:
    """Appends to the newest pack. All methods are called under the index lock and raise OperatorErrors."""

    def __init__(self, directory: Path, index: Index, files: Files, limits: layout.StoreLimits) -> None:
        self._directory = directory
        self._index = index
        self._files = files
        self._limits = limits
        self._pack = 0  # none open
        self._fd = -1
        self._size = 0  # bytes that committed rows know of; what lies beyond is overwritten
        self._synced = 0
        self._started = 0  # the disk was told to begin with what lies before

    @property
    def unsynced_bytes(self) -> int:
        return self._size - self._synced

    @property
    def active(self) -> int:
        """Id of the pack that is written to, 0 for none."""
        return self._pack

    def resume(self, pack: int, size: int) -> None:
        """Go on in a pack whose first `size` bytes are on the disk."""
        self._fd = self._files.open(layout.pack_path(self._directory, pack))
        self._pack = pack
        self._size = self._synced = self._started = size

    def has_room(self, size: int) -> bool:
        """True when `size` more bytes fit the open pack; an empty one takes any size."""
        fits = self._size + size <= self._limits.pack_roll_bytes or self._size <= len(HEADER)
        return self._pack != 0 and fits

    def roll(self) -> None:
        """Start a new pack. Call it after `sync` and outside a transaction."""
        with self._index.transaction(durable=True) as tx, translated(self._directory, "starting a pack"):
            self.note_synced(tx)
            cursor = tx.execute("INSERT INTO packs (size_bytes, synced_bytes) VALUES (?, ?)", (len(HEADER),) * 2)
            pack = int(cursor.lastrowid or 0)
            fd = self._create(pack)
        self._leave()
        self._fd, self._pack = fd, pack
        self._size = self._synced = self._started = len(HEADER)

    def _create(self, pack: int) -> int:
        """The file is on the disk before the row that names it."""
        path = layout.pack_path(self._directory, pack)
        fd = self._files.create(path)
        try:
            self._files.write_at(fd, 0, [HEADER])
            self._files.fsync(fd)
            self._files.fsync_dir(path.parent)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def append(self, tx: sqlite3.Connection, blocks: Sequence[tuple[Cid, Buffer]]) -> list[Place]:
        """Write the blocks behind what is there; the bytes are in the file when this returns.

        `committed` makes it final once `tx` is; without it the next append writes over them.
        """
        places: list[Place] = []
        buffers: list[Buffer] = []
        end = self._size
        for cid, data in blocks:
            prefix = car.section_prefix(cid, len(data))
            buffers += (prefix, data)
            places.append(Place(self._pack, end, len(prefix) + len(data), len(data)))
            end += len(prefix) + len(data)
        self._write(tx, buffers, end)
        return places

    def copy(self, tx: sqlite3.Connection, sections: Sequence[tuple[bytes, int]]) -> list[Place]:
        """As `append`, of whole sections, each with the length of its data."""
        places: list[Place] = []
        end = self._size
        for section, length in sections:
            places.append(Place(self._pack, end, len(section), length))
            end += len(section)
        self._write(tx, [section for section, _ in sections], end)
        return places

    def _write(self, tx: sqlite3.Connection, buffers: Sequence[Buffer], end: int) -> None:
        if not buffers:
            return
        with translated(self._directory, "writing blocks"):
            try:
                self._write_through(buffers)
            except OSError:
                with suppress(OSError):  # on a full disk, give back what was written of it
                    self._files.truncate(self._fd, self._size)
                raise
        tx.execute("UPDATE packs SET size_bytes = ?, synced_bytes = ? WHERE id = ?", (end, self._synced, self._pack))

    def _write_through(self, buffers: Sequence[Buffer]) -> None:
        """The disk starts early, so that the next sync is short: it would idle until then."""
        at = self._size
        for group, size in _groups(buffers):
            self._files.write_at(self._fd, at, group)
            at += size
            if at - self._started >= _START_BYTES:
                self._files.start_writing(self._fd, self._started, at - self._started)
                self._started = at

    def committed(self, places: Sequence[Place]) -> None:
        if places:
            self._size = places[-1].start + places[-1].span

    def sync(self) -> None:
        """Put the open pack on the disk. After an error its unsynced bytes count as lost: see `abandon`."""
        if self._synced == self._size:
            return
        with translated(self._directory, "writing blocks"):
            self._files.fsync(self._fd)
        self._synced = self._started = self._size

    def sync_beside(self) -> Callable[[], None]:
        """`sync` while the caller does something else; call what is given, under the same lock, for its end."""
        if self._synced == self._size:
            return lambda: None
        wait, size = self._files.fsync_beside(self._fd), self._size

        def finish() -> None:
            with translated(self._directory, "writing blocks"):
                wait()
            self._synced = self._started = size

        return finish

    def note_synced(self, tx: sqlite3.Connection) -> None:
        """Record how far the open pack is on the disk, in a transaction after `sync`."""
        if self._pack:
            tx.execute("UPDATE packs SET synced_bytes = ? WHERE id = ?", (self._synced, self._pack))

    def abandon(self) -> tuple[int, int]:
        """Stop writing to the open pack; gives its id and how much of it is surely on the disk.

        After a failed sync the kernel may have dropped the pages: trying again would tell nothing.
        """
        pack, synced = self._pack, self._synced
        self._leave()
        return pack, synced

    def _leave(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._pack = -1, 0
        self._size = self._synced = self._started = 0

    def close(self) -> None:
        self._leave()


def _groups(buffers: Sequence[Buffer]) -> Iterator[tuple[list[Buffer], int]]:
    """Cut into runs of some `_WRITE_BYTES`, each with its size."""
    group: list[Buffer] = []
    size = 0
    for buffer in buffers:
        group.append(buffer)
        size += len(buffer)
        if size >= _WRITE_BYTES:
            yield group, size
            group, size = [], 0
    if group:
        yield group, size
