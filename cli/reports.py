"""fednode reports: what readers and others reported, and what becomes of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from cli.common import config_options, confirm, echo_json, json_option, yes_option
from cli.daemon import daemon
from cli.errors import CommandError, WrongUsage
from cli.tables import ago, count, plain
from node.casework.book import REPORTS_MAX
from node.casework.lines import LINE_MAX_BYTES, read_reports, write_report
from node.casework.model import LEVELS, BadReport, Report
from node.gateway.http1 import REPORTS_PATH
from protocol.errors import FednodeError

if TYPE_CHECKING:
    from node.admin.client import AdminClient

EPILOG = "Exit codes: 0 done; 1 failed, or no such case; 2 wrong usage; 3 no daemon; 130 not confirmed."
CATEGORY = click.Choice(list(LEVELS))
PAGE = 500
BODY_BYTES = 65_000  # of reports in one request


@click.group("reports", epilog=EPILOG)
def command() -> None:
    """See what was reported or appealed, and decide it."""


@command.command("list", epilog=EPILOG)
@click.option("--decided", is_flag=True, help="Those that are decided, the latest first.")
@click.option("--category", type=CATEGORY, default=None, help="Of this category only.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=50, help="At most so many. Default: 50.")
@config_options
@json_option
def list_(
    decided: bool, category: str | None, limit: int, config_file: Path | None, data_dir: Path | None, as_json: bool
) -> None:
    """List the cases, the most urgent first: by category, age and number of reports."""
    with daemon(config_file, data_dir) as client:
        state = "decided" if decided else "open"
        backlog = client.reports(limit=1)["backlog"]
        cases = [case for _, case in zip(range(limit), _cases(client, state, category or ""), strict=False)]
    if as_json:
        echo_json({"cases": cases, "backlog": backlog})
        return
    for case in cases:
        outcome = "" if case["state"] == "open" else f"  {case['state']}: {case['reason']}"
        reports = count(case["count"], case["kind"])
        first = ago(case["first_s"])
        click.echo(plain(f"{case['id']}  {case['category']}  {reports}, first {first}  {case['subject']}{outcome}"))
    late = f", {backlog['late']} late" if backlog["late"] else ""
    click.echo(f"{count(backlog['open'], 'open case')}{late}")


@command.command("import", epilog=EPILOG)
@click.argument("file", type=click.File("rb"))
@config_options
@json_option
def import_(file: BinaryIO, config_file: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Take in reports that came by other ways: JSON lines from FILE, or - for standard input.

    Each line is an object with what the form takes: where, category, why, and if you like contact and evidence. A line
    that the form would not take refuses the whole file; nothing of it is taken then.
    """
    reports = _read(file)
    tokens: list[str] = []
    with daemon(config_file, data_dir) as client:
        for lines in _bodies(reports):
            try:
                tokens += client.take_reports(lines)["tokens"]
            except FednodeError as error:
                raise CommandError(f"{len(tokens)} of {count(len(reports), 'report')} taken, then: {error}") from error
    if as_json:
        echo_json({"taken": len(tokens), "statuses": [f"{REPORTS_PATH}/{token}" for token in tokens]})
    else:
        click.echo(f"{count(len(tokens), 'report')} taken")


def _read(file: BinaryIO) -> list[Report]:
    reports: list[Report] = []
    try:
        for report in read_reports(iter(partial(file.readline, LINE_MAX_BYTES + 1), b"")):
            if len(reports) == REPORTS_MAX:
                raise CommandError(f"there are more than {REPORTS_MAX} reports", hint="import them in parts")
            reports.append(report)
    except BadReport as error:
        raise CommandError(str(error), hint="docs/operators/reports.md has the format") from error
    return reports


def _bodies(reports: list[Report]) -> Iterator[str]:
    """As many lines at a time as one request holds."""
    body, size = "", 0
    for line in map(write_report, reports):
        line_size = len(json.dumps(line))
        if body and size + line_size > BODY_BYTES:
            yield body
            body, size = "", 0
        body, size = body + line, size + line_size
    if body:
        yield body


@command.command("show", epilog=EPILOG)
@click.argument("number", type=click.IntRange(1))
@config_options
@json_option
def show(number: int, config_file: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Show one case with its reports and their contacts."""
    with daemon(config_file, data_dir) as client:
        case = client.report(number)
    if as_json:
        echo_json(case)
        return
    for name in ("subject", "category", "state", "reason", "count", "entry"):
        if case[name] not in (None, ""):
            click.echo(f"{name}: {plain(case[name])}")
    for report in case["reports"]:
        click.echo(f"\n{ago(report['at_s'])}, {report['category']}, {plain(report['where'])}")
        for name in ("why", "evidence", "contact"):
            if report[name]:
                click.echo(f"  {name}: {plain(report[name])}")


@command.command("decide", epilog=EPILOG)
@click.argument("verdict", type=click.Choice(["dismiss", "quarantine", "refuse", "legal", "uphold", "lift"]))
@click.argument("numbers", nargs=-1)
@click.option("--reason", required=True, help="Why; readers, reporters and the public log get it.")
@click.option("--category", type=CATEGORY, default=None, help="All open cases of this category, instead of numbers.")
@click.option("--all", "every", is_flag=True, help="All open cases, instead of numbers.")
@click.option("--now", is_flag=True, help="A rule holds at once, without a notice period.")
@click.option("--note", default="", help="For yourself; the public log has only a commitment to it.")
@click.option("--secret", is_flag=True, help="The public log does not say what was decided upon, nor why.")
@yes_option
@config_options
@json_option
def decide(
    verdict: str,
    numbers: tuple[str, ...],
    reason: str,
    category: str | None,
    every: bool,
    now: bool,
    note: str,
    secret: bool,
    yes: bool,
    config_file: Path | None,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Decide cases by NUMBERS, such as 3 or 7-20.

    Reports: dismiss makes no rule; quarantine and refuse make one by policy, after the notice period unless what was
    reported cannot wait; legal makes one by law. Appeals: uphold leaves the refusal, lift ends it. Each decision is an
    entry of the public log; reporters see it at their status link, publishers in a notice.
    """
    if bool(numbers) + bool(category) + every != 1:
        raise WrongUsage("say which cases: numbers, --category or --all", hint="fednode reports list shows them")
    with daemon(config_file, data_dir) as client:
        chosen = list(numbers)
        if not numbers:
            kind = "appeal" if verdict in ("uphold", "lift") else "report"
            chosen = [str(case["id"]) for case in _cases(client, "open", category or "") if case["kind"] == kind]
            if not chosen:
                raise CommandError("there are no such cases")
            confirm(f"Decide {count(len(chosen), 'case')}?", yes=yes)
        decided = rules = waiting = 0
        for part in _parts(chosen):
            done = client.decide(part, verdict=verdict, reason=reason, note=note, secret=secret, now=now)
            decided, rules, waiting = decided + done["decided"], rules + done["rules"], waiting + done["waiting"]
    if as_json:
        echo_json({"decided": decided, "rules": rules, "waiting": waiting})
        return
    click.echo(f"{count(decided, 'case')} decided, {count(rules, 'rule')} made")
    if waiting:
        click.echo(f"in force when the notice period is over: {count(waiting, 'rule')} (fednode notices)")
        click.echo("sooner: fednode block --now TARGET")


def _cases(client: AdminClient, state: str, category: str) -> Iterator[dict[str, Any]]:
    offset = 0
    while page := client.reports(state=state, category=category, offset=offset, limit=PAGE)["cases"]:
        yield from page
        offset += len(page)


def _parts(numbers: list[str]) -> Iterator[str]:
    """As many at a time as one request holds."""
    for start in range(0, len(numbers), 2000):
        yield ",".join(numbers[start : start + 2000])
