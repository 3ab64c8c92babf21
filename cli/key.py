"""fednode key: make and show site keys."""

from __future__ import annotations

from typing import Any

import click

from cli.common import echo_json, json_option
from cli.tables import ago, echo_fields, echo_table

EPILOG = """\b
Keys are kept in $XDG_CONFIG_HOME/fednode/keys (~/.config/fednode/keys), one
file each, readable by you alone. A key never leaves this machine. Who has it
can publish and end the site; without it nobody can, so keep a copy.

\b
Exit codes: 0 done; 1 failed; 6 the key is there already, missing, locked, or
readable by others.
"""


@click.group("key", epilog=EPILOG)
def command() -> None:
    """Make and show site keys."""


@command.command("new", epilog=EPILOG)
@click.argument("name", default="default")
@click.option("--passphrase", is_flag=True, help="Ask for a passphrase (or set FEDNODE_KEY_PASSPHRASE).")
@json_option
def new(name: str, passphrase: bool, as_json: bool) -> None:
    """Make a key, and with it a site. NAME is `default` if not given. Nothing is overwritten."""
    from cli.keys import new_passphrase
    from cli.publishing.keystore import Keystore, check_name

    check_name(name)
    entry = Keystore().create(name, new_passphrase(wanted=passphrase))
    described = _describe(entry)
    if as_json:
        echo_json(described)
        return
    echo_fields((("key", described["path"]), ("site", described["site"])))
    click.echo("\nKeep a copy of the key in a safe place: without it nobody can update or end the site.")


@command.command("list", epilog=EPILOG)
@json_option
def list_keys(as_json: bool) -> None:
    """List the keys in the keystore."""
    from cli.publishing.keystore import Keystore

    keystore = Keystore()
    described = [_describe(entry) for entry in keystore.entries()]
    if as_json:
        echo_json({"keys": described})
    elif not described:
        click.echo(f"no keys in {keystore.folder}; make one: fednode key new")
    else:
        head = ("NAME", "PASSPHRASE", "RELEASE", "SITE")
        echo_table(head, [(row["name"], _word(row), row["seq"] or "-", row["site"] or "?") for row in described])


@command.command("show", epilog=EPILOG)
@click.argument("name", required=False)
@json_option
def show(name: str | None, as_json: bool) -> None:
    """Show one key: its site and what it published last from this machine. NAME may be a file."""
    from cli.keys import ask_passphrase, choose_key

    entry = choose_key(name, may_create=False)
    site = entry.site(ask_passphrase)
    described = _describe(entry) | {"site": str(site)}
    if as_json:
        echo_json(described)
        return
    signed = f"{ago(described['created_s'])}" if described["created_s"] else ""
    echo_fields(
        (
            ("name", described["name"]),
            ("key", described["path"]),
            ("passphrase", _word(described)),
            ("site", described["site"]),
            ("release", "ended" if described["ended"] else described["seq"] or "none yet"),
            ("root", described["root"]),
            ("signed", signed),
        )
    )


def _word(described: dict[str, Any]) -> str:
    return "yes" if described["encrypted"] else "no"


def _describe(entry: Any) -> dict[str, Any]:
    """What can be told without opening the key."""
    record = entry.record()
    last = record.last if record else None
    return {
        "name": entry.name,
        "path": str(entry.path),
        "site": str(record.site) if record else None,
        "encrypted": entry.encrypted(),
        "seq": last.seq if last else 0,
        "release": str(last.cid) if last else None,
        "root": str(last.release.root) if last and last.release.root is not None else None,
        "created_s": last.release.created_s if last else None,
        "ended": last is not None and last.release.ended,
    }
