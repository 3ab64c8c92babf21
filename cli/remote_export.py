"""A publisher's own site, fetched from a node that may refuse it to everybody else."""

from __future__ import annotations

import sys
from pathlib import Path

import trio

from cli.daemon import whole_site
from cli.errors import CommandError
from cli.keys import choose_key, open_key
from cli.progress import bars
from cli.publishing.bundles import whole_file
from cli.publishing.notices import fetch_own
from protocol.release import SignedRelease
from protocol.site_id import SiteId


def export_from(
    node: str, site: str, key: str | None, output: Path | None, *, force: bool
) -> tuple[SignedRelease, int]:
    """Writes the bundle to `output`, or stdout for None; the release, and the size of the file. CommandError."""
    if output is not None and output.exists() and not force:
        raise CommandError(f"{output} is there already", hint="choose another name, or give --force to replace it")
    wanted = whole_site(site)
    private_key = open_key(choose_key(key, may_create=False))
    if SiteId.of(private_key) != wanted:
        raise CommandError("this is not the key of the site", hint="name the right one with --key")
    with bars() as progress:
        if output is None:
            return trio.run(fetch_own, node, private_key, sys.stdout.buffer, progress), 0
        with whole_file(output) as handle:
            signed = trio.run(fetch_own, node, private_key, handle, progress)
            return signed, handle.tell()
