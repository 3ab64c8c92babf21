"""fednode export: a hosted site as a bundle."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.common import config_options, echo_json, json_option
from cli.daemon import SITE
from cli.errors import WrongUsage
from cli.tables import count, human_size

if TYPE_CHECKING:
    from protocol.release import SignedRelease

EPILOG = """\b
A bundle is a CARv1 file with the signed release and every block of the site.
Whoever has it can host the site: fednode import site.car. Any IPFS tool reads
it, too.

Of a tree, /ipfs/CID, a CARv1 file is written with the blocks in depth-first
order.

Works beside a running node and without one, also for sites that are blocked
but kept (quarantined). With --from, a remote node is asked for a site of yours
that it keeps, also one that it refuses: the site's key is the right to it.

\b
Exit codes: 0 done; 1 failed, or the site is not kept here; 2 wrong usage or
configuration.
"""


@click.command("export", epilog=EPILOG)
@click.argument("site", metavar="SITE|/ipfs/CID", type=SITE)
@click.option("-o", "--output", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path), help="Not to stdout.")
@click.option("--force", is_flag=True, help="Replace FILE if it is there.")
@click.option("--from", "node", metavar="NODE", help="Fetch it from this node, with the site's key.")
@click.option("--key", metavar="NAME|FILE", help="With --from: the site key, by its name or as a PEM file.")
@config_options
@json_option
def command(
    site: str,
    output: Path | None,
    force: bool,
    node: str | None,
    key: str | None,
    config_file: Path | None,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Write a site that is kept here as a bundle, or a tree (/ipfs/CID) as a CAR file, to stdout or to FILE."""
    from cli.publishing.exporting import export_to_file, export_to_stream, opened_site

    if output is None and (as_json or sys.stdout.isatty()):
        raise WrongUsage("a bundle is not text", hint="fednode export SITE -o site.car")
    if site.startswith("/ipfs/"):
        if node is not None or key is not None:
            raise WrongUsage("--from and --key are for sites")
        _export_tree(site, output, config_file, data_dir, force=force, as_json=as_json)
        return
    if node is None and key is not None:
        raise WrongUsage("--key is for sites of another node", hint="say which one with --from")
    if node is not None:
        from cli.remote_export import export_from

        signed, file_bytes = export_from(node, site, key, output, force=force)
        if output is not None:
            _echo(signed, output, file_bytes, as_json=as_json)
        return
    with opened_site(site, config_file, data_dir) as (signed, source):
        if output is None:
            export_to_stream(sys.stdout.buffer, signed, source)
            return
        file_bytes = export_to_file(output, signed, source, replace=force)
    _echo(signed, output, file_bytes, as_json=as_json)


def _export_tree(
    text: str, output: Path | None, config_file: Path | None, data_dir: Path | None, *, force: bool, as_json: bool
) -> None:
    from cli.publishing.tree_export import opened_tree, stream_tree, write_tree

    with opened_tree(text, config_file, data_dir) as (reader, record):
        if output is None:
            stream_tree(sys.stdout.buffer, reader, record)
            return
        file_bytes = write_tree(output, reader, record, replace=force)
    if as_json:
        echo_json(
            {
                "file": str(output),
                "file_bytes": file_bytes,
                "root": str(record.root),
                "whole": record.whole,
                "size_bytes": record.size_bytes,
                "block_count": record.blocks,
            }
        )
    else:
        blocks = count(record.blocks, "block")
        part = "" if record.whole else "; parts of this tree are missing here"
        click.echo(f"wrote {output}: /ipfs/{record.root}, {human_size(record.size_bytes)} in {blocks}{part}")


def _echo(signed: SignedRelease, output: Path, file_bytes: int, *, as_json: bool) -> None:
    release = signed.release
    if as_json:
        echo_json(
            {
                "file": str(output),
                "file_bytes": file_bytes,
                "site": str(release.site),
                "seq": release.seq,
                "release": str(signed.cid),
                "root": None if release.root is None else str(release.root),
                "size_bytes": release.size_bytes,
                "block_count": release.block_count,
                "ended": release.ended,
            }
        )
    elif release.ended:
        click.echo(f"wrote {output}: the end of the site, signed by its publisher")
    else:
        blocks = count(release.block_count, "block")
        click.echo(f"wrote {output}: release {release.seq}, {human_size(release.size_bytes)} in {blocks}")
