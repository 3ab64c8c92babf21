"""fednode bundle: a signed bundle of a folder, made offline."""

from __future__ import annotations

from pathlib import Path

import click

from cli.common import echo_json, json_option
from cli.tables import count, echo_fields, human_size

EPILOG = """\b
A bundle is a CARv1 file with the signed release and every block of the site.
It needs no key to be published: fednode publish site.car --to NODE

\b
The sequence follows what this machine signed last. If another machine
published the site meanwhile, give a higher one with --seq.

\b
Exit codes: 0 done; 1 failed; 2 wrong usage; 6 the key is missing, locked, or
readable by others.
"""


@click.command("bundle", epilog=EPILOG)
@click.argument("folder", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("-o", "--output", metavar="FILE", required=True, type=click.Path(dir_okay=False, path_type=Path))
@click.option("--key", metavar="NAME|FILE", help="The site key, by its name in the keystore or as a PEM file.")
@click.option("--seq", type=click.IntRange(min=1), help="At least this sequence number for the release.")
@click.option("--min-hosts", type=click.IntRange(1, 10_000), help="Wish for so many hosts at least.")
@click.option("--max-hosts", type=click.IntRange(1, 10_000), help="Wish for so many hosts at most.")
@click.option("--hidden", is_flag=True, help="Publish names that begin with a dot, too.")
@click.option("--dereference", is_flag=True, help="Publish what symbolic links point to, not the links.")
@click.option("--force", is_flag=True, help="Replace FILE, and sign a new release even if nothing has changed.")
@json_option
def command(
    folder: Path,
    output: Path,
    key: str | None,
    seq: int | None,
    min_hosts: int | None,
    max_hosts: int | None,
    hidden: bool,
    dereference: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Make a signed bundle of a folder; no network, no daemon."""
    from cli.publishing.scan import ScanOptions
    from cli.publishing.sequence import Wishes
    from cli.releases import make_bundle

    wishes = Wishes(seq=seq, min_hosts=min_hosts, max_hosts=max_hosts, force=force)
    scan_options = ScanOptions(hidden=hidden, dereference=dereference)
    signed, file_bytes = make_bundle(folder, scan_options, key, wishes, output, replace=force)
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
