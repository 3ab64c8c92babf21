"""What `publish`, `bundle` and `unpublish` do once their command line is understood."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.destination import Destination
from cli.errors import CommandError
from cli.keys import ask_passphrase, choose_key, open_key
from cli.progress import bars
from cli.publishing.bundles import read_bundle, write_bundle
from cli.publishing.flow import Outcome, Progress, Task
from cli.publishing.folder import FolderSource, read_folder
from cli.publishing.keystore import KeyEntry, KeyRecord
from cli.publishing.scan import Scan, ScanOptions
from cli.publishing.sequence import Wishes, newest, next_end, next_release, unchanged
from cli.publishing.source import BlockSource
from cli.tables import plain
from protocol.release import Release, SignedRelease, sign_release
from protocol.site_id import SiteId

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

LINKS_SHOWN = 3


class Signer:
    """A key, what it signed last, and the rule that nothing is sent before it is on record."""

    def __init__(self, entry: KeyEntry, private_key: Ed25519PrivateKey) -> None:
        self._entry = entry
        self._private_key = private_key
        self.site = SiteId.of(private_key)
        record = entry.record()
        if record is not None and record.site != self.site:
            raise CommandError(
                f"{entry.record_path} is about another site than the key beside it", hint=f"rm {entry.record_path}"
            )
        self._last = record.last if record else None

    def last(self, head: SignedRelease | None) -> SignedRelease | None:
        """The newest release that this machine or the nodes know."""
        return newest((self._last, head))

    def next(self, head: SignedRelease | None, source: BlockSource, wishes: Wishes) -> tuple[SignedRelease, bool]:
        """The release for these blocks, and whether it is the last one because nothing has changed."""
        last = self.last(head)
        if last is not None and unchanged(last, source, wishes):
            return last, True
        return self.sign(next_release(self.site, last, source, wishes)), False

    def sign(self, release: Release) -> SignedRelease:
        signed = sign_release(release, self._private_key)
        self._entry.save(KeyRecord(self.site, signed))
        return signed


@contextmanager
def _signer(key: str | None, *, may_create: bool) -> Iterator[Signer]:
    entry = choose_key(key, may_create=may_create)
    with entry.locked():
        yield Signer(entry, open_key(entry))


@contextmanager
def _folder(path: Path, options: ScanOptions, progress: Progress) -> Iterator[FolderSource]:
    """The folder's blocks; closed afterwards."""
    task: Task | None = None

    def on_scan(scan: Scan) -> None:
        nonlocal task
        task = progress.task("reading", scan.size_bytes)
        _warn_of_links(scan)

    def on_bytes(count_bytes: int) -> None:
        if task is not None:
            task.advance(count_bytes)

    with read_folder(path, options, on_scan=on_scan, on_bytes=on_bytes) as source:
        yield source


def _warn_of_links(scan: Scan) -> None:
    """Readers cannot follow a link that leaves the site."""
    links = scan.outward_links
    if links:
        more = f" and {len(links) - LINKS_SHOWN} more" if len(links) > LINKS_SHOWN else ""
        named = plain(", ".join(links[:LINKS_SHOWN])) + more
        click.echo(f"warning: links that leave the folder lead nowhere on the site: {named}", err=True)
        click.echo("hint: --dereference publishes what they point to", err=True)


def publish_folder(
    path: Path, options: ScanOptions, key: str | None, wishes: Wishes, destination: Destination
) -> Outcome:
    """Read, sign what comes next, hand it out."""
    with _signer(key, may_create=True) as signer, bars() as progress, _folder(path, options, progress) as source:
        return destination.publish(signer.site, lambda head: signer.next(head, source, wishes), source, progress)


def publish_bundle(path: Path, destination: Destination) -> Outcome:
    """Check the whole bundle, hand it out as it is."""
    with bars() as progress:
        task = progress.task("checking", path.stat().st_size)
        with read_bundle(path, on_bytes=task.advance) as source:
            signed = source.signed
            blocks = None if signed.release.ended else source
            return destination.publish(signed.site, lambda _: (signed, False), blocks, progress)


def make_bundle(
    path: Path, options: ScanOptions, key: str | None, wishes: Wishes, output: Path, *, replace: bool
) -> tuple[SignedRelease, int]:
    """Read, sign, write; the release and the size of the file. Works offline."""
    if output.exists() and not replace:
        raise CommandError(f"{output} is there already", hint="choose another name, or give --force to replace it")
    with _signer(key, may_create=True) as signer, bars() as progress, _folder(path, options, progress) as source:
        signed, _ = signer.next(None, source, wishes)
        task = progress.task("writing", source.size_bytes)
        return signed, write_bundle(output, signed, source, on_bytes=task.advance)


def site_of(key: str | None) -> SiteId:
    """The site that a key stands for, to ask before it is ended; without its passphrase if that can be."""
    return choose_key(key, may_create=False).site(ask_passphrase)


def end_site(key: str | None, destination: Destination) -> Outcome:
    """Sign the end of a site, or take the one that was signed before, and hand it out."""
    with _signer(key, may_create=False) as signer, bars() as progress:

        def decide(head: SignedRelease | None) -> tuple[SignedRelease, bool]:
            last = signer.last(head)
            if last is not None and last.release.ended:
                return last, True
            return signer.sign(next_end(signer.site, last)), False

        return destination.publish(signer.site, decide, None, progress)
