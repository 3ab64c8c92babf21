"""A hosted site as a source of blocks, read straight from the store beside the daemon, or without one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from cli.common import load_config
from cli.daemon import PREFIX_MIN_CHARS
from cli.errors import CommandError
from cli.progress import bars
from cli.publishing.bundles import stream_bundle, write_bundle
from config import Paths
from node.store.errors import BlockCorrupt, BlockMissing
from node.store.layout import DATABASE_NAME
from node.store.port import SiteRecord, StoreReader
from node.store.reader import open_reader
from protocol.cid import Cid
from protocol.errors import DecodeError
from protocol.release import SignedRelease
from protocol.site_id import SiteId


class StoreSource:
    """The blocks of a held release; see BlockSource. Each is verified as it is read."""

    def __init__(self, reader: StoreReader, signed: SignedRelease, root: Cid) -> None:
        self._reader = reader
        self._signed = signed
        self.root = root

    @property
    def size_bytes(self) -> int:
        return self._signed.release.size_bytes

    @property
    def block_count(self) -> int:
        return self._signed.release.block_count

    def get(self, cid: Cid) -> bytes:
        try:
            return self._reader.get_block(cid)
        except BlockMissing:
            raise CommandError("the site was replaced while it was being read", hint="try again") from None
        except BlockCorrupt:
            raise CommandError(
                f"block {cid} is damaged on the disk", hint="a running node mends it from another host; then try again"
            ) from None


@contextmanager
def opened_site(
    text: str, config_file: Path | None, data_dir: Path | None
) -> Iterator[tuple[SignedRelease, StoreSource | None]]:
    """The held release of a site and its blocks; of an ended site its end alone. CommandError: not kept here."""
    store_dir = Paths(load_config(config_file, data_dir).config.data_dir).store_dir
    if not (store_dir / DATABASE_NAME).exists():
        raise CommandError(f"there is no store in {store_dir}", hint="give --data-dir")
    reader = open_reader(store_dir)
    try:
        record = _find(reader, text)
        signed = record.head if record.ended else record.held
        if signed is None:
            raise CommandError(f"{record.site} is known, but not kept here")
        root = signed.release.root
        yield signed, None if root is None else StoreSource(reader, signed, root)
    finally:
        reader.close()


def _find(reader: StoreReader, text: str) -> SiteRecord:
    try:
        record = reader.site(SiteId.from_text(text))
    except DecodeError:
        found = [row for row in reader.sites() if str(row.site).startswith(text)]
        if len(found) > 1 and len(text) >= PREFIX_MIN_CHARS:
            raise CommandError(f"{len(found)} sites begin with {text!r}", hint="give more of it") from None
        record = found[0] if found and len(text) >= PREFIX_MIN_CHARS else None
    if record is None:
        raise CommandError(f"no site {text!r} is known here", hint="fednode sites lists the known ones")
    return record


def export_to_file(path: Path, signed: SignedRelease, source: StoreSource | None, *, replace: bool) -> int:
    """Size of the file, which appears whole or not at all."""
    if path.exists() and not replace:
        raise CommandError(f"{path} is there already", hint="choose another name, or give --force to replace it")
    with bars() as progress:
        task = progress.task("writing", signed.release.size_bytes)
        return write_bundle(path, signed, source, on_bytes=task.advance)


def export_to_stream(handle: IO[bytes], signed: SignedRelease, source: StoreSource | None) -> None:
    """One block in memory at a time. What was written before an error is no whole bundle, and `import` says so."""
    with bars() as progress:
        task = progress.task("writing", signed.release.size_bytes)
        stream_bundle(handle, signed, source, on_bytes=task.advance)
