"""fednode report: report something to another node's operator."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from cli.common import echo_json, json_option
from cli.errors import CommandError, WrongUsage
from cli.public_api import TooLong, ask_json, public_client
from node.casework.model import CATEGORIES

if TYPE_CHECKING:
    import httpx

ANSWER_MAX_BYTES = 64 * 1024
EPILOG = """\b
Where the node asks for a proof of work, this command does the work first:
about a second of one core for 20 bits, twice as long for each bit more.

\b
Exit codes: 0 the node has it; 1 it was not taken; 2 wrong usage; 3 no answer.
"""


@click.command("report", epilog=EPILOG)
@click.argument("where")
@click.option("--to", "url", metavar="URL", required=True, help="The node, such as https://node.example.")
@click.option("--category", type=click.Choice(list(CATEGORIES)), required=True, help="What it is.")
@click.option("--why", required=True, help="Why you report it.")
@click.option("--evidence", default="", help="Addresses or references, if there are any.")
@click.option("--contact", default="", help="How the operator can reach you; it is not published.")
@json_option
def command(where: str, url: str, category: str, why: str, evidence: str, contact: str, as_json: bool) -> None:
    """Report WHERE, an address or a site that the node at URL serves, to its operator."""
    from node.casework.model import BadReport, read_report

    report = {"where": where, "category": category, "why": why, "evidence": evidence, "contact": contact}
    report = {name: text for name, text in report.items() if text}
    try:
        read_report(report)
    except BadReport as error:
        raise WrongUsage(str(error)) from error
    with public_client(url, headers={"Accept": "application/json"}) as http:
        status = _hand_in(http, report)
    address = url.rstrip("/") + status
    if as_json:
        echo_json({"status": address})
    else:
        click.echo("the node has your report; what becomes of it will be shown there:")
        click.echo(address)


def _hand_in(http: httpx.Client, report: dict[str, str]) -> str:
    """The path of the report's status."""
    from node.gateway.http1 import REPORTS_PATH

    _, terms = _ask(http, "GET", REPORTS_PATH)
    proof = _proof(terms.get("proof_of_work"), report)
    code, answer = _ask(http, "POST", REPORTS_PATH, {**report, **proof})
    if code != 201 or not isinstance(answer.get("status"), str):
        raise CommandError(f"it was not taken: {answer.get('error', f'the node answers with status {code}')}")
    return str(answer["status"])


def _proof(asked: Any, report: dict[str, str]) -> dict[str, str]:
    """The field that shows the work which the node asks for."""
    from protocol.errors import DecodeError
    from protocol.limits import REPORT_PROOF_BITS_MAX
    from protocol.report_proof import prove
    from protocol.site_id import SiteId

    if not asked:
        return {}
    try:
        bits, node = int(asked["bits"]), SiteId.from_text(str(asked["node"]))
    except (DecodeError, KeyError, TypeError, ValueError) as error:
        raise CommandError(f"the node asks for a proof of work in words of its own: {error}") from error
    if not 0 <= bits <= REPORT_PROOF_BITS_MAX:
        raise CommandError(f"the node asks for {bits} bits of work; at most {REPORT_PROOF_BITS_MAX} are done here")
    click.echo(f"doing the work that the node asks for, {bits} bits", err=True)
    return {"proof": str(prove(node, report, int(time.time()), bits))}


def _ask(http: httpx.Client, method: str, path: str, body: dict[str, str] | None = None) -> tuple[int, dict[str, Any]]:
    try:
        code, value = ask_json(http, method, path, max_bytes=ANSWER_MAX_BYTES, body=body)
    except TooLong:
        raise CommandError(f"{http.base_url} answers with more than {ANSWER_MAX_BYTES} bytes") from None
    if value is None:
        raise CommandError(f"{http.base_url} does not answer as a node does", hint="check the address")
    return code, value
