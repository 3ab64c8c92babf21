"""fednode log: what this node decided, and whether another node's log can be believed."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.common import config_options, echo_json, json_option, load_config
from cli.daemon import daemon
from cli.errors import CommandError
from cli.public_api import TooLong, ask_json, public_client
from cli.tables import count, plain

if TYPE_CHECKING:
    import httpx

    from node.decisions.audit import Audited, LogWrong, Seen

ANSWER_MAX_BYTES = 16 * 1024 * 1024
EPILOG = "Exit codes: 0 done; 1 failed, or there is no log yet; 2 wrong usage; 3 no daemon."
VERIFY_EPILOG = """\b
With --state FILE the newest signed head is remembered, and the next check
shows that the log only grew. What is wrong is named by its code:
  log-bad-signature  the head is not signed by the key in it
  log-other-key      another key signs than at the last check
  log-forked         the log does not begin with what was there before
  log-rewritten      an entry is not what was signed
  log-wrong-text     an entry is shown with words that it was not made of
  log-bad-answer     the answer makes no sense

\b
Exit codes: 0 the log is sound; 1 it is not; 2 wrong usage; 3 no answer.
"""


@click.group("log", invoke_without_command=True, epilog=EPILOG)
@click.option("--since", type=click.IntRange(0), default=0, metavar="N", help="Begin with entry number N.")
@config_options
@json_option
@click.pass_context
def command(ctx: click.Context, since: int, config_file: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Show what was decided on this node, or check another node's log."""
    if ctx.invoked_subcommand is not None:
        return
    from config import Paths
    from node.decisions.reader import PAGE_MAX, LogReader
    from node.decisions.shape import entry_json, head_json

    path = Paths(load_config(config_file, data_dir).config.data_dir).decisions
    if not path.exists():
        raise CommandError(f"there is no log at {path}", hint="fednode start begins one")
    entries: list[dict[str, Any]] = []
    with closing(LogReader(path)) as reader:
        head = reader.head()
        while since < head.head.size:
            page = reader.entries(since, min(head.head.size, since + PAGE_MAX))
            entries += [entry_json(each.raw, each.entry, each.opened, withheld=each.withheld) for each in page]
            since += len(page)
    if as_json:
        echo_json({**head_json(head), "entries": entries})
        return
    for entry in entries:
        click.echo(line_of(entry))
    click.echo(f"{count(head.head.size, 'entry', 'entries')}, signed by {head.head.key}")


@command.command("withhold", epilog=EPILOG)
@click.argument("number", type=click.IntRange(0))
@config_options
@json_option
def withhold(number: int, config_file: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """No longer publish what entry NUMBER is about, and why. The log stays provable. It cannot be undone."""
    with daemon(config_file, data_dir) as client:
        done = client.withhold(number)
    echo_json(done) if as_json else click.echo(f"entry {number} is published without its target and reason")


@command.command("verify", epilog=VERIFY_EPILOG)
@click.argument("url")
@click.option(
    "--state", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Remember the head here."
)
@click.option("--all", "whole", is_flag=True, help="Read every entry again, not only new ones.")
@json_option
def verify(url: str, state: Path | None, whole: bool, as_json: bool) -> None:
    """Check the log of the node at URL, such as http://127.0.0.1:8080, from outside."""
    from node.decisions.audit import LogWrong, audit

    before = _remembered(state)
    try:
        with public_client(url, follow_redirects=True) as http:
            found = audit(_getter(http), before, whole=whole)
    except LogWrong as error:
        if state is not None and error.heads:
            error.hint = _keep_evidence(state, error)
        raise
    if state is not None:
        _remember(state, found.seen)
    _echo_audited(found, before, as_json)


def _keep_evidence(state: Path, error: LogWrong) -> str:
    """Where it is, or why not."""
    evidence = state.with_name(state.name + ".evidence")
    try:
        evidence.write_text(json.dumps([signed.encode().hex() for signed in error.heads]) + "\n")
    except OSError as refused:
        return f"the heads that the node signed prove it, but {evidence} cannot be written: {refused.strerror}"
    return f"{evidence} has the heads that the node signed"


def _echo_audited(found: Audited, before: Seen | None, as_json: bool) -> None:
    head = found.seen.head
    if as_json:
        echo_json({"ok": True, "size": head.size, "key": str(head.key), "root": head.root.hex(), "read": found.entries})
        return
    for entry in found.entries:
        click.echo(line_of(entry))
    since = f", which begin with the {before.head.size} of the last check" if before else ""
    click.echo(f"the log is sound: {count(head.size, 'entry', 'entries')}{since}, signed by {head.key}")


def _getter(http: httpx.Client) -> Callable[[str], dict[str, Any]]:
    from node.decisions.audit import LogWrong

    def get(path: str) -> dict[str, Any]:
        try:
            code, value = ask_json(http, "GET", path, max_bytes=ANSWER_MAX_BYTES)
        except TooLong:
            raise LogWrong("bad-answer", f"{path} is longer than {ANSWER_MAX_BYTES} bytes") from None
        if code != 200 or value is None:
            raise LogWrong("bad-answer", f"{path} answers {code} and no JSON object of a log")
        return value

    return get


def _remembered(state: Path | None) -> Seen | None:
    from node.decisions.audit import Seen
    from protocol.errors import DecodeError

    if state is None or not state.exists():
        return None
    try:
        return Seen.from_json(state.read_text())
    except OSError as error:
        raise CommandError(f"{state} cannot be read: {error.strerror}", hint="give --state another file") from error
    except (DecodeError, ValueError, TypeError) as error:
        raise CommandError(f"{state} cannot be used: {error}", hint="move it away to begin anew") from None


def _remember(state: Path, seen: Seen) -> None:
    new = state.with_name(state.name + ".new")
    try:
        new.write_text(json.dumps(seen.to_json()) + "\n")
        new.replace(state)
    except OSError as error:
        raise CommandError(
            f"the log is sound, but {state} cannot be written: {error.strerror}", hint="give --state another file"
        ) from error


def line_of(entry: dict[str, Any]) -> str:
    """An entry on one line, whoever wrote it."""
    from datetime import UTC, datetime

    when = datetime.fromtimestamp(entry["time_s"], UTC).strftime("%Y-%m-%d %H:%M")
    texts = entry["opened"]
    target = texts["target"]["text"] if "target" in texts else entry["list"] or ""
    parts = [str(entry["number"]), when, entry["act"], entry["verdict"], entry["ground"]]
    if entry["withheld"]:
        parts.append("(withheld)")
    parts.append(target)
    if entry["list_rules"] is not None:
        parts.append(count(entry["list_rules"], "rule"))
    if "reason" in texts:
        parts.append(f"– {texts['reason']['text']}")
    return plain("  ".join(filter(None, parts)))
