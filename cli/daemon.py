"""Talking to the daemon of this machine, for the verbs of its operator."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.common import load_config
from cli.errors import CommandError, NoDaemon, WrongUsage
from protocol.errors import DecodeError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from node.admin.client import AdminClient
    from protocol.site_id import SiteId

PREFIX_MIN_CHARS = 3
COMPLETION_DEADLINE_S = 1.0


@contextmanager
def daemon(config_file: Path | None, data_dir: Path | None) -> Iterator[AdminClient]:
    """A client of the admin API; NoDaemon names the socket and says how to start one."""
    from config import Paths
    from node.admin import client as admin

    socket_path = Paths(load_config(config_file, data_dir).config.data_dir).admin_socket
    try:
        with admin.AdminClient(socket_path) as client:
            yield client
    except admin.NoDaemon as error:
        if isinstance(error.__cause__, Exception) and _is_permission(error):
            raise NoDaemon(str(error), hint=error.hint) from error
        raise NoDaemon(f"no fednode daemon at {socket_path}", hint="fednode start") from error


def _is_permission(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, PermissionError):
            return True
        error = error.__cause__ or error.__context__
    return False


def find_site(client: AdminClient, text: str) -> str:
    """The full site id: as given if it is whole, else the one known site that begins like it. CommandError."""
    from protocol.site_id import SiteId

    try:
        return str(SiteId.from_text(text))
    except DecodeError:
        pass
    found = [row["site"] for row in client.sites() if row["site"].startswith(text)]
    if len(text) < PREFIX_MIN_CHARS or not found:
        raise CommandError(f"no site begins with {text!r}", hint="fednode sites lists the known ones")
    if len(found) > 1:
        raise CommandError(f"{len(found)} sites begin with {text!r}", hint="give more of it: " + ", ".join(found[:3]))
    return str(found[0])


def whole_site(text: str) -> SiteId:
    """A site id for a node elsewhere, which completes nothing. WrongUsage."""
    from protocol.site_id import SiteId

    try:
        return SiteId.from_text(text)
    except DecodeError as error:
        hint = "give the whole id, k51…; fednode sites and fednode key list show them"
        raise WrongUsage(f"{text[:80]!r} is no site id: {error}", hint=hint) from error


def find_target(client: AdminClient, text: str) -> str:
    """What a rule is about: a site (a unique beginning will do), /ipns/SITE, a CID, or /ipfs/CID[/path]. BadTarget."""
    from node.policy.rules import read_target

    if text.startswith("k51") and "/" not in text:
        return find_site(client, text)
    read_target(text)
    return text


class SiteType(click.ParamType[str]):
    """A site id on the command line, completed from what the daemon knows."""

    name = "site"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return value

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Nothing when no daemon answers at once: completion must never get in the way."""
        from click.shell_completion import CompletionItem

        return [
            CompletionItem(row["site"], help=row.get("state", ""))
            for row in _asked(ctx.params, lambda client: client.sites())
            if row["site"].startswith(incomplete)
        ]


def _asked(params: dict[str, Any], ask: Callable[[AdminClient], list[dict[str, Any]]]) -> list[dict[str, Any]]:
    from config import Paths
    from node.admin.client import AdminClient
    from protocol.errors import FednodeError

    try:
        config = load_config(params.get("config_file"), params.get("data_dir")).config
        with AdminClient(Paths(config.data_dir).admin_socket, timeout_s=COMPLETION_DEADLINE_S) as client:
            return ask(client)
    except FednodeError:
        return []


class TargetType(SiteType):
    """What a rule is about; sites and peers are completed."""

    name = "target"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """As for sites; nodes once /p2p/ is there."""
        from click.shell_completion import CompletionItem

        if not incomplete.startswith("/p2p/"):
            return super().shell_complete(ctx, param, incomplete)
        known = (f"/p2p/{row['peer']}" for row in _asked(ctx.params, lambda client: client.peers()))
        return [CompletionItem(peer) for peer in known if peer.startswith(incomplete)]


SITE = SiteType()
TARGET = TargetType()
