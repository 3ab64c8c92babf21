"""fednode bundle: a signed bundle of a folder, made offline."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.common import echo_json, json_option
from cli.release_options import release_options
from cli.tables import count, echo_fields, human_size

if TYPE_CHECKING:
    from cli.publishing.scan import ScanOptions
    from cli.publishing.sequence import Wishes

EPILOG = """\b
A bundle is a CARv1 file with the signed release and every block of the site.
It needs no key to be published: fednode publish site.car --to NODE

\b
Domains and named hosts stay from release to release until an option says else.

The sequence follows what this machine signed last. If another machine
published the site meanwhile, give a higher one with --seq.

\b
Exit codes: 0 done; 1 failed; 2 wrong usage; 6 the key is missing, locked, or
readable by others.
"""


@click.command("bundle", epilog=EPILOG)
@click.argument("folder", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("-o", "--output", metavar="FILE", required=True, type=click.Path(dir_okay=False, path_type=Path))
@release_options("Replace FILE, and sign a new release even if nothing has changed.")
@json_option
def command(
    folder: Path,
    output: Path,
    key: str | None,
    wishes: Wishes,
    scan_options: ScanOptions,
    as_json: bool,
) -> None:
    """Make a signed bundle of a folder; no network, no daemon."""
    from cli.releases import make_bundle

    signed, file_bytes = make_bundle(folder, scan_options, key, wishes, output, replace=wishes.force)
    release = signed.release
    if as_json:
        echo_json(
            {
                "file": str(output),
                "file_bytes": file_bytes,
                "site": str(release.site),
                "seq": release.seq,
                "release": str(signed.cid),
                "root": str(release.root),
                "size_bytes": release.size_bytes,
                "block_count": release.block_count,
            }
        )
        return
    echo_fields(
        (
            ("bundle", f"{output}, {human_size(file_bytes)}"),
            ("site", release.site),
            ("release", release.seq),
            ("root", release.root),
            ("size", f"{human_size(release.size_bytes)} in {count(release.block_count, 'block')}"),
        )
    )
    click.echo(f"\npublish it: fednode publish {output} --to NODE")
