"""fednode appeal: answer a node that refuses a site."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from cli.common import echo_json, json_option
from cli.daemon import whole_site
from cli.errors import CommandError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

EPILOG = """\b
The appeal is signed by the site's key and comes into the queue of the node's
operator. The answer is a notice: fednode notices --to NODE SITE. A node takes
five appeals of a site within 30 days.

\b
Exit codes: 0 the node has it; 1 it was not taken, or there is nothing to
appeal against; 2 wrong usage; 6 the key is missing or locked.
"""


@click.command("appeal", epilog=EPILOG)
@click.argument("site")
@click.argument("text")
@click.option("--to", "node", metavar="NODE", required=True, help="The node, by its libp2p address.")
@click.option("--key", metavar="NAME|FILE", help="The site key, by its name in the keystore or as a PEM file.")
@click.option("--contact", default="", help="How the operator can reach you; only the operator sees it.")
@json_option
def command(site: str, text: str, node: str, key: str | None, contact: str, as_json: bool) -> None:
    """Appeal against a node's refusal of SITE, with TEXT for its operator."""
    import trio

    from cli.keys import choose_key, open_key
    from protocol.site_id import SiteId

    wanted = whole_site(site)
    private_key = open_key(choose_key(key, may_create=False))
    if SiteId.of(private_key) != wanted:
        raise CommandError("this is not the key of the site", hint="name the right one with --key")
    number = trio.run(_appeal, node, private_key, text, contact)
    if as_json:
        echo_json({"site": site, "notice": number})
    else:
        click.echo(f"the appeal against notice {number} was taken")
        click.echo(f"the answer will be there: fednode notices --to {node} {site}")


async def _appeal(node: str, key: Ed25519PrivateKey, text: str, contact: str) -> int:
    from cli.publishing.notices import open_notice, remote_office
    from protocol.site_id import SiteId

    async with remote_office(node) as office:
        notice = open_notice(await office.notices(SiteId.of(key)))
        if notice is None:
            raise CommandError("the node holds nothing against the site", hint="fednode notices shows what it said")
        await office.appeal(key, notice.notice.number, text, contact, int(time.time()))
        return notice.notice.number
