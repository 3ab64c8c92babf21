"""Where a release goes: remote nodes, or the daemon that owns this machine's data_dir."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import click
import trio

from cli.common import load_config
from cli.publishing.flow import Decide, Outcome, Progress, publish
from cli.publishing.nodes import local_node, no_daemon, remote_nodes
from cli.publishing.source import BlockSource
from protocol.errors import DecodeError, FednodeError
from protocol.notice import SignedNotice
from protocol.site_id import SiteId


@dataclass(frozen=True, slots=True)
class Destination:
    """`addresses` are multiaddrs of remote nodes; empty means the local daemon."""

    addresses: tuple[str, ...]
    publish_socket: Path
    admin_socket: Path
    secrets: Mapping[str, bytes] = field(default_factory=dict)
    """Of invitations, by address."""

    @classmethod
    def of(
        cls,
        addresses: Sequence[str],
        config_file: Path | None,
        data_dir: Path | None,
        invitations: Sequence[str] = (),
    ) -> Destination:
        """Checks what can be checked before a long read: the addresses, and that a local daemon is there."""
        from config import Paths
        from config.addresses import check_dial_address

        for address in addresses:
            try:
                check_dial_address(address)
            except ValueError as error:
                raise click.BadParameter(str(error), param_hint="--to") from error
        secrets = _secrets(addresses, invitations)
        paths = Paths(load_config(config_file, data_dir).config.data_dir)
        if not addresses:
            _check_listening(paths.publish_socket)
        return cls(tuple(addresses), paths.publish_socket, paths.admin_socket, secrets)

    def publish(self, site: SiteId, decide: Decide, source: BlockSource | None, progress: Progress) -> Outcome:
        """See cli.publishing.flow.publish."""
        return trio.run(self._publish, site, decide, source, progress)

    async def _publish(self, site: SiteId, decide: Decide, source: BlockSource | None, progress: Progress) -> Outcome:
        reach = remote_nodes(self.addresses) if self.addresses else local_node(self.publish_socket)
        async with reach as nodes:
            outcome = await publish(nodes, site, decide, source, progress, self.secrets)
        return replace(outcome, notices=await self._notices(outcome))

    async def _notices(self, outcome: Outcome) -> dict[str, SignedNotice]:
        """What the nodes hold against the site, so that its publisher need not ask for it."""
        from cli.publishing.notices import open_at

        site = outcome.signed.site
        if self.addresses:
            return await open_at([result.node for result in outcome.nodes if result.state != "failed"], site)
        found = await trio.to_thread.run_sync(self._local_notices, site)
        return {outcome.nodes[0].node: found} if found is not None else {}

    def _local_notices(self, site: SiteId) -> SignedNotice | None:
        from cli.publishing.notices import local_notices, open_notice
        from node.admin.client import AdminClient

        try:
            with AdminClient(self.admin_socket) as client:
                return open_notice(local_notices(client, site))
        except FednodeError:  # as below
            return None

    def urls(self, outcome: Outcome) -> list[str]:
        """Where the local node serves the site; empty for remote nodes, which know their own names."""
        if self.addresses or outcome.signed.release.ended or not any(result.ok for result in outcome.nodes):
            return []
        from node.admin.client import AdminClient

        try:
            with AdminClient(self.admin_socket) as client:
                return [str(url) for url in client.site(str(outcome.signed.site))["urls"]]
        except FednodeError:  # the publish itself went well; the address is a courtesy
            return []


def _secrets(addresses: Sequence[str], invitations: Sequence[str]) -> dict[str, bytes]:
    """Each node gets its own invitation alone. click.BadParameter for one of another node."""
    from node.core.peers import key_of
    from protocol.invitation import parse_invitation

    found = {}
    for text in invitations:
        try:
            invitation = parse_invitation(text)
        except DecodeError as error:
            raise click.BadParameter(str(error), param_hint="--invite") from error
        keys = {address: key_of(address.rpartition("/p2p/")[2]) for address in addresses}
        of_it = [address for address, key in keys.items() if key is not None and invitation.is_of(key)]
        if not of_it:
            where = "none of the nodes given with --to" if addresses else "a remote node, which --to has to name"
            raise click.BadParameter(f"{text[:20]}… is an invitation to {where}", param_hint="--invite")
        found.update(dict.fromkeys(of_it, invitation.secret))
    return found


def _check_listening(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except PermissionError:
            return  # LocalNode says it better
        except OSError as error:
            raise no_daemon(path) from error
