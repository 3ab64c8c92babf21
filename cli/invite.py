"""fednode invite: whose sites the node hosts in mode `invite`, and how much of them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.common import config_options, echo_json, json_option
from cli.daemon import daemon
from cli.tables import count, echo_table, human_size, moment, plain
from cli.until import UNTIL

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

EPILOG = "Exit codes: 0 done; 1 no such invitation, or too many; 2 wrong usage; 3 no daemon."
DEFAULT_S = 30 * 86_400


class SizeType(click.ParamType[int]):
    """A size such as 5GB."""

    name = "size"

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int:
        from config.sizes import parse_size

        try:
            return parse_size(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class NumberType(click.ParamType[int]):
    """The number of an invitation, completed from what the daemon knows."""

    name = "number"

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return int(value)
        except ValueError:
            self.fail(f"{value!r} is no number", param, ctx)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Nothing when no daemon answers: completion must never get in the way."""
        from click.shell_completion import CompletionItem

        from protocol.errors import FednodeError

        try:
            with daemon(ctx.params.get("config_file"), ctx.params.get("data_dir")) as client:
                rows = client.invitations()
        except FednodeError:
            return []
        live = (row for row in rows if row["revoked_s"] is None and str(row["number"]).startswith(incomplete))
        return [CompletionItem(str(row["number"]), help=plain(row["note"])) for row in live]


@click.group("invite", epilog=EPILOG)
def command() -> None:
    """Invite publishers: with `hosting.mode = "invite"`, only their sites are hosted."""


@command.command("new", epilog=EPILOG)
@click.option("--note", default="", help="For yourself: whom you give it to.")
@click.option(
    "--until", type=UNTIL, default=None, help="When it cannot be used any more: 12h, 30d (the default), a date."
)
@click.option("--sites", type=click.IntRange(1, 100), default=1, help="How many sites it is for.")
@click.option("--quota", type=SizeType(), default=None, help="What these sites may have here, such as 5GB.")
@config_options
@json_option
def new(
    note: str,
    until: int | None,
    sites: int,
    quota: int | None,
    config_file: Path | None,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Make an invitation and print it. It is shown this once; give it to its publisher only."""
    with daemon(config_file, data_dir) as client:
        until_s = until if until is not None else int(time.time()) + DEFAULT_S
        made = client.invite(until_s=until_s, note=note, sites=sites, quota_bytes=quota)
        status = client.status()
    if as_json:
        echo_json(made)
        return
    click.echo(plain(made["invitation"]))
    limit = f", {human_size(made['quota_bytes'])} in all" if made["quota_bytes"] is not None else ""
    click.echo(
        f"number {made['number']}, for {count(made['sites_max'], 'site')}{limit}, until {moment(made['until_s'])}"
    )
    address = next(iter(status["addresses"]), "NODE")
    click.echo(f"its publisher: fednode publish DIR --to {plain(address)} --invite TOKEN")
    click.echo(f"take it back: fednode invite revoke {made['number']}")


@command.command("list", epilog=EPILOG)
@config_options
@json_option
def list_invitations(config_file: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Show the invitations, the sites that came with them, and what these have here."""
    with daemon(config_file, data_dir) as client:
        rows = client.invitations()
    if as_json:
        echo_json({"invitations": rows})
        return
    if not rows:
        click.echo("no invitations; make one: fednode invite new")
        return
    head = ("NUMBER", "STATE", "UNTIL", "SITES", "SIZE", "QUOTA", "NOTE")
    echo_table(head, [_row(row) for row in rows])
    for row in rows:
        for site in row["sites"]:
            click.echo(f"{row['number']}: {plain(site)}")


@command.command("revoke", epilog=EPILOG)
@click.argument("number", type=NumberType())
@config_options
@json_option
def revoke(number: int, config_file: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Take an invitation back. In mode `invite` its sites get no more updates here; what is here stays."""
    with daemon(config_file, data_dir) as client:
        done = client.revoke_invitation(number)
    if as_json:
        echo_json(done)
        return
    click.echo(f"taken back: invitation {done['number']}")
    for site in done["sites"]:
        click.echo(f"still here: {plain(site)}; fednode block {plain(site)} refuses it")


def _row(row: dict[str, Any]) -> tuple[str, ...]:
    return (
        str(row["number"]),
        _state(row),
        moment(row["until_s"]),
        f"{len(row['sites'])} of {row['sites_max']}",
        human_size(row["used_bytes"]),
        "-" if row["quota_bytes"] is None else human_size(row["quota_bytes"]),
        plain(row["note"]),
    )


def _state(row: dict[str, Any]) -> str:
    if row["revoked_s"] is not None:
        return "taken back"
    if len(row["sites"]) >= row["sites_max"]:
        return "used"
    return "ended" if row["until_s"] <= time.time() else "open"
