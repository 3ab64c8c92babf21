"""The built-in sample site: `fednode start --sample` publishes it to the node that is starting."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
import trio

from cli.publishing.flow import Outcome, Silent, publish
from cli.publishing.folder import FolderSource, read_folder
from cli.publishing.keystore import KeyEntry
from cli.publishing.nodes import LocalNode
from cli.publishing.scan import ScanOptions
from cli.publishing.sequence import Wishes
from cli.releases import Signer
from config import Paths
from config.keyfile import load_or_create_key
from protocol.errors import FednodeError

if TYPE_CHECKING:
    from config import Config

SAMPLE_DIR = Path(__file__).parent / "sample_site"


async def publish_sample(config: Config) -> None:
    """Publish to the daemon that this runs in, and print where to open the site."""
    paths = Paths(config.data_dir)
    try:
        source = await trio.to_thread.run_sync(read_folder, SAMPLE_DIR, ScanOptions())
        with source:
            signer = await trio.to_thread.run_sync(_signer, paths.sample_key)
            outcome = await _publish(paths, signer, source)
        if not outcome.nodes[0].ok:
            click.echo(f"error: this node refused the sample site: {outcome.nodes[0].reason}", err=True)
            return
        urls = await trio.to_thread.run_sync(_urls, paths.admin_socket, str(signer.site))
    except FednodeError as error:
        click.echo(f"error: the sample site could not be published: {error}", err=True)
        return
    for url in urls:
        click.echo(f"sample site: {url}")


async def _publish(paths: Paths, signer: Signer, source: FolderSource) -> Outcome:
    nodes = [LocalNode(paths.publish_socket)]
    return await publish(nodes, signer.site, lambda head: signer.next(head, source, Wishes()), source, Silent())


def _signer(path: Path) -> Signer:
    """With a key of the node's own: the sample must not touch the keystore of whoever starts it."""
    return Signer(KeyEntry("sample", path), load_or_create_key(path))


def _urls(admin_socket: Path, site: str) -> list[str]:
    from node.admin.client import AdminClient

    with AdminClient(admin_socket) as client:
        return [str(url) for url in client.site(site)["urls"]]
