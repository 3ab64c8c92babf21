"""fednode notices: what nodes hold against a site."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.common import config_options, echo_json, json_option
from cli.daemon import SITE, daemon, find_site, whole_site
from cli.errors import WrongUsage

if TYPE_CHECKING:
    from protocol.notice import SignedNotice

EPILOG = """\b
Every notice is signed by the node that gave it; the signatures are checked.
With --to, the node is asked over libp2p, and SITE must be whole. Without SITE:
the open notices of this machine's node.

\b
Exit codes: 0 done, also when there is none; 1 failed; 2 wrong usage;
3 no daemon.
"""


@click.command("notices", epilog=EPILOG)
@click.argument("site", type=SITE, required=False)
@click.option("--to", "node", metavar="NODE", help="A remote node, by its libp2p address.")
@config_options
@json_option
def command(site: str | None, node: str | None, config_file: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Show the notices of a node about a site, the newest first."""
    from cli.notice_text import echo_notice
    from node.notices.shape import notice_json

    if node is not None:
        if site is None:
            raise WrongUsage("say which site: fednode notices --to NODE SITE")
        found = _remote(node, site)
    else:
        found = _local(site, config_file, data_dir)
    if as_json:
        echo_json({"notices": [notice_json(signed) for signed in found]})
        return
    for number, signed in enumerate(found):
        if number:
            click.echo()
        echo_notice(signed.notice)
    if not found:
        click.echo("no notices")


def _remote(node: str, site: str) -> list[SignedNotice]:
    import trio

    from cli.publishing.notices import ask_notices

    _, found = trio.run(ask_notices, node, whole_site(site))
    return found


def _local(site: str | None, config_file: Path | None, data_dir: Path | None) -> list[SignedNotice]:
    from cli.publishing.notices import local_notices
    from protocol.notice import SignedNotice
    from protocol.site_id import SiteId

    with daemon(config_file, data_dir) as client:
        if site is not None:
            return local_notices(client, SiteId.from_text(find_site(client, site)))
        return [SignedNotice.decode(bytes.fromhex(row["notice"])) for row in client.notices()["notices"]]
