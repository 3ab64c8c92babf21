"""Cutting files into chunks and hashing them in threads, in order and with bounded memory.

A job is one stretch of a large file or a batch of small ones, so that neither a single huge file nor a
thousand tiny ones leave threads idle or pay the price of a job each. At most `JOBS_PER_THREAD` jobs per
thread are under way, and a thread holds one chunk at a time: memory does not depend on the size of the
site.
"""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from cli.errors import FolderChanged, FolderError
from cli.publishing.scan import ScannedFile
from protocol.cid import RAW, Cid
from protocol.limits import CHUNK_BYTES

JOB_BYTES = 8 * CHUNK_BYTES
JOB_FILES = 64
JOBS_PER_THREAD = 4

CHANGED_HINT = "run it again"


@dataclass(frozen=True, slots=True)
class Stretch:
    """Bytes `start` to `stop` of the file with number `index`; `start` is a multiple of the chunk size."""

    index: int
    file: ScannedFile
    start: int
    stop: int


def chunk_lengths(size_bytes: int) -> Iterator[tuple[int, int]]:
    """(offset, length) of each chunk of a file; an empty file is one empty chunk."""
    for offset in range(0, size_bytes, CHUNK_BYTES):
        yield offset, min(CHUNK_BYTES, size_bytes - offset)
    if size_bytes == 0:
        yield 0, 0


def hash_files(files: Iterable[ScannedFile], on_bytes: Callable[[int], None]) -> Iterator[list[Cid]]:
    """The chunks' CIDs of each file, in the order of `files`. FolderChanged, FolderError."""
    parts: list[Cid] = []
    for stretch, cids in _run_ordered(_jobs(files)):
        on_bytes(stretch.stop - stretch.start)
        parts += cids
        if stretch.stop == stretch.file.size_bytes:
            yield parts
            parts = []


def _jobs(files: Iterable[ScannedFile]) -> Iterator[list[Stretch]]:
    batch: list[Stretch] = []
    batch_bytes = 0
    for index, file in enumerate(files):
        start = 0
        while True:
            stop = min(file.size_bytes, start + JOB_BYTES)
            batch.append(Stretch(index, file, start, stop))
            batch_bytes += stop - start
            if batch_bytes >= JOB_BYTES or len(batch) >= JOB_FILES:
                yield batch
                batch, batch_bytes = [], 0
            start = stop
            if start >= file.size_bytes:
                break
    if batch:
        yield batch


def _run_ordered(jobs: Iterator[list[Stretch]]) -> Iterator[tuple[Stretch, list[Cid]]]:
    threads = os.cpu_count() or 1
    pending: deque[tuple[list[Stretch], Future[list[list[Cid]]]]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="hash")
    try:
        for job in jobs:
            pending.append((job, pool.submit(_hash_job, job)))
            if len(pending) >= threads * JOBS_PER_THREAD:
                yield from _results(*pending.popleft())
        while pending:
            yield from _results(*pending.popleft())
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _results(job: list[Stretch], future: Future[list[list[Cid]]]) -> Iterator[tuple[Stretch, list[Cid]]]:
    yield from zip(job, future.result(), strict=True)


def _hash_job(job: list[Stretch]) -> list[list[Cid]]:
    largest = max(min(CHUNK_BYTES, stretch.stop - stretch.start) for stretch in job)
    buffer = memoryview(bytearray(largest))
    return [_hash_stretch(stretch, buffer) for stretch in job]


def _hash_stretch(stretch: Stretch, buffer: memoryview) -> list[Cid]:
    file = stretch.file
    with open_unchanged(file) as handle:
        cids = []
        for offset, length in chunk_lengths(stretch.stop - stretch.start):
            read_exactly(handle, file, stretch.start + offset, buffer[:length])
            cids.append(Cid.of(RAW, buffer[:length]))
        return cids


class open_unchanged:  # noqa: N801 - used like open()
    """A file's descriptor for a `with` block; FolderChanged if it is not as it was scanned."""

    __slots__ = ("_descriptor", "_file")

    def __init__(self, file: ScannedFile) -> None:
        self._file = file
        try:
            self._descriptor = os.open(file.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except (FileNotFoundError, NotADirectoryError):
            raise changed(file.path) from None
        except OSError as error:
            raise FolderError(f"cannot read {file.path}: {error.strerror}") from error
        if not self._is_same():
            os.close(self._descriptor)
            raise changed(file.path)

    def _is_same(self) -> bool:
        found, file = os.fstat(self._descriptor), self._file
        return stat.S_ISREG(found.st_mode) and (found.st_size, found.st_mtime_ns) == (file.size_bytes, file.mtime_ns)

    def __enter__(self) -> int:
        return self._descriptor

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        is_same = self._is_same()
        os.close(self._descriptor)
        if kind is None and not is_same:
            raise changed(self._file.path)


def read_exactly(descriptor: int, file: ScannedFile, offset: int, buffer: memoryview) -> None:
    """Fill `buffer` from `offset`. FolderChanged if the file ends before, FolderError if the disk fails."""
    filled = 0
    while filled < len(buffer):
        try:
            count = os.preadv(descriptor, [buffer[filled:]], offset + filled)
        except OSError as error:
            raise FolderError(f"cannot read {file.path}: {error.strerror}") from error
        if count == 0:
            raise changed(file.path)
        filled += count


def changed(path: str) -> FolderChanged:
    """The error for a file that is not as it was scanned."""
    return FolderChanged(f"{path} changed while publishing", hint=CHANGED_HINT)
