"""fednode list: lists of refusals that somebody publishes and the node follows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cli.common import config_options, confirm, echo_json, json_option, yes_option
from cli.daemon import daemon
from cli.tables import ago, count, human_size, plain
from protocol.denylist import NamePath, parse_target
from protocol.domain_blocks import DomainBlock, format_domain_csv, plain_comment

EPILOG = """\b
A list (IPIP-383, or domain blocks as Mastodon exports them) is a file, an
https address or a site of fednode. Modes:
  enforce  its rules hold
  review   a line holds once you accept it
  observe  nothing holds; `preview` says what would be hit

\b
Exit codes: 0 done; 1 failed, or no such list; 3 no daemon; 130 not confirmed.
"""
MODES = click.Choice(["enforce", "review", "observe"])


@click.group("list", epilog=EPILOG)
def command() -> None:
    """Follow lists of refusals."""


@command.command("add", epilog=EPILOG)
@click.argument("source")
@click.option("--mode", type=MODES, default="enforce", show_default=True, help="What its rules do.")
@click.option("--name", default="", help="What to call it; the source, if not given. Later names decide.")
@click.option(
    "--cap",
    type=click.IntRange(0),
    default=10,
    show_default=True,
    help="A version that newly hits more sites, or more peers, waits for you.",
)
@click.option(
    "--quorum",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    help="A rule holds where so many lists refuse the same, this one among them.",
)
@yes_option
@config_options
@json_option
def add(
    source: str,
    mode: str,
    name: str,
    cap: int,
    quorum: int,
    yes: bool,
    config_file: Path | None,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Follow a list: URL, SITE or FILE. Shows first what it would hit here, and asks if it hits anything."""
    where = _source(source)
    with daemon(config_file, data_dir) as client:
        if not yes and mode == "enforce" and where.startswith(("/", "https://", "http://")):
            found = client.list_preview(where)
            if found["sites_hit"] or found["peers_hit"]:
                _echo_preview(found)
                confirm("Put the list in force?", yes=False)
        status = client.list_add(where, mode=mode, name=name, cap_sites=cap, quorum=quorum)
    _echo(status, as_json=as_json)


@command.command("preview", epilog=EPILOG)
@click.argument("source")
@config_options
@json_option
def preview(source: str, config_file: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Show what a list would hit here; changes nothing. SOURCE is a URL, SITE or FILE, or the name of a list: then of
    its version that waits, or the one in force."""
    with daemon(config_file, data_dir) as client:
        names = {status["name"] for status in client.lists()}
        found = client.list_preview(source if source in names else _source(source))
    echo_json(found) if as_json else _echo_preview(found)


@command.command("remove", epilog=EPILOG)
@click.argument("name")
@config_options
@json_option
def remove(name: str, config_file: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Stop following a list, and undo all that it did: what it refused is served again at once."""
    with daemon(config_file, data_dir) as client:
        done = client.list_remove(_known(client.lists(), name))
    echo_json(done) if as_json else click.echo(f"no longer followed: {plain(done['name'])}")


@command.command("show", epilog=EPILOG)
@config_options
@json_option
def show(config_file: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Show the lists and how their last reading went."""
    with daemon(config_file, data_dir) as client:
        lists = client.lists()
    if as_json:
        echo_json({"lists": lists})
    elif not lists:
        click.echo("no lists; follow one: fednode list add URL|SITE|FILE")
    for status in [] if as_json else lists:
        _echo(status, as_json=False)


def _change(name: str, help_text: str, action: str | None, *, line: bool | None) -> None:
    """One verb that changes a list; line: whether it takes one (None: it may)."""

    @config_options
    @json_option
    def run(config_file: Path | None, data_dir: Path | None, as_json: bool, **given: str | None) -> None:
        with daemon(config_file, data_dir) as client:
            known = _known(client.lists(), given["name"] or "")
            status = client.list_change(known, action or given["mode"] or "", given.get("line"))
        _echo(status, as_json=as_json)

    if line is not False:
        run = click.argument("line", required=line is True)(run)
    if action is None:
        run = click.argument("mode", type=MODES)(run)
    run = click.argument("name")(run)
    command.command(name, help=help_text, epilog=EPILOG)(run)


_change("mode", "Change what a list does: enforce, review or observe.", None, line=False)
_change(
    "accept",
    "Put a version that waits in force; with LINE: let that line of a list in mode review hold.",
    "accept",
    line=None,
)
_change("reject", "Drop a version that waits; the one in force stays.", "reject", line=False)
_change(
    "overrule",
    "Take the effect from LINE of a list, as it stands there, until the line changes.",
    "overrule",
    line=True,
)
_change("restore", "Take back an overruling.", "restore", line=True)


@command.command("export", epilog=EPILOG)
@config_options
@json_option
def export(config_file: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Write your own refusals of domains as Mastodon's CSV, for others to follow.

    Secret rules, rules on a path below a domain, and rules on anything else are left out.
    """
    with daemon(config_file, data_dir) as client:
        blocks = [block for rule in client.rules() if (block := _domain_block(rule)) is not None]
    if as_json:
        echo_json({"domains": [{"domain": domain, "comment": comment} for domain, comment in blocks]})
    else:
        click.echo(format_domain_csv(blocks), nl=False)


def _domain_block(rule: dict[str, Any]) -> DomainBlock | None:
    target = parse_target(rule["target"])
    if rule["verdict"] == "allow" or rule["secret"]:
        return None
    match target:
        case NamePath(str() as domain, "", False):
            return DomainBlock(domain, plain_comment(rule["reason"]))
    return None


def _source(source: str) -> str:
    path = Path(source)
    return str(path.absolute()) if "://" not in source and (source.startswith("/") or path.exists()) else source


def _known(lists: list[dict[str, Any]], name: str) -> str:
    """The name of a list, by its name or its file."""
    names = {status["name"] for status in lists}
    return name if name in names else _source(name)


def _echo(status: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        echo_json(status)
        return
    read = f", read {ago(status['read_s'])}" if status["read_s"] else ""
    click.echo(f"{plain(status['name'])}: {count(status['rule_count'], 'rule')}, mode {status['mode']}{read}")
    if status["error"]:
        click.echo(f"  needs attention: {plain(status['error'])}")
    if status["pending"]:
        click.echo(f"  look at it: fednode list preview {plain(status['name'])}; then list accept or list reject")
    for line in status["accepted"]:
        click.echo(f"  accepted: {plain(line)}")
    for line in status["overruled"]:
        click.echo(f"  overruled: {plain(line)}")
    for problem in status["problems"]:
        click.echo(f"  line {problem['line']} left out: {plain(problem['message'])}")
    if status["problem_count"] > len(status["problems"]):
        click.echo(f"  and {status['problem_count'] - len(status['problems'])} more")


def _echo_preview(found: dict[str, Any]) -> None:
    click.echo(
        f"{count(found['rule_count'], 'rule')}; hits {found['sites_hit']} of {count(found['hosted'], 'hosted site')}"
        f" ({human_size(found['bytes_hit'])})"
        + (f" and {found['peers_hit']} of {count(found['known_peers'], 'known peer')}" if found["known_peers"] else "")
    )
    for hit in found["hits"][:20]:
        click.echo(f"  {hit['site']} {plain(hit['what'])}\n    by {plain(hit['line'])}")
    if found["hit_count"] > 20:
        click.echo(f"  and {found['hit_count'] - 20} more")
    for hit in found["peer_hits"][:20]:
        click.echo(f"  /p2p/{plain(hit['peer'])}\n    by {plain(hit['line'])}")
    if found["peers_hit"] > 20:
        click.echo(f"  and {found['peers_hit'] - 20} more peers")
    if not found["complete"]:
        click.echo("  there are too many files to look at all of them")
