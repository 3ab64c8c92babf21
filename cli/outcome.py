"""What a publish came to, for people and as JSON."""

from __future__ import annotations

from typing import Any

import click

from cli.notice_text import echo_notice
from cli.publishing.exchange import NodeResult
from cli.publishing.flow import Outcome
from cli.tables import count, echo_fields, echo_table, human_size, plain
from node.notices.shape import notice_json


def outcome_json(outcome: Outcome, urls: list[str]) -> dict[str, Any]:
    """Stable; docs/publishers/publishing.md describes it."""
    release = outcome.signed.release
    return {
        "site": str(release.site),
        "seq": release.seq,
        "release": str(outcome.signed.cid),
        "root": str(release.root) if release.root is not None else None,
        "size_bytes": release.size_bytes,
        "block_count": release.block_count,
        "ended": release.ended,
        "unchanged": outcome.unchanged,
        "nodes": [
            {
                "node": result.node,
                "state": result.state,
                "code": result.code,
                "reason": result.reason,
                "new_blocks": result.new_blocks,
                "new_bytes": result.new_bytes,
                "notice": _notice_json(outcome, result.node),
            }
            for result in outcome.nodes
        ],
        "urls": urls,
    }


def echo_outcome(outcome: Outcome, urls: list[str]) -> None:
    """A headline, the release, a row for each node, and where to open the site."""
    release = outcome.signed.release
    click.echo(_headline(outcome))
    click.echo()
    echo_fields(
        (
            ("site", release.site),
            ("release", None if release.ended else release.seq),
            ("root", release.root),
            ("size", None if release.ended else _size(release.size_bytes, release.block_count)),
        )
    )
    click.echo()
    echo_table(("NODE", "RESULT", "NEW"), [(result.node, _result(result), _new(result)) for result in outcome.nodes])
    for node, signed in outcome.notices.items():
        click.echo()
        click.echo(f"notice from {plain(node)}")
        echo_notice(signed.notice)
    if urls:
        click.echo()
        echo_fields([("open", url) for url in urls])


def _notice_json(outcome: Outcome, node: str) -> dict[str, Any] | None:
    found = outcome.notices.get(node)
    return None if found is None else notice_json(found)


def _headline(outcome: Outcome) -> str:
    release = outcome.signed.release
    accepted = sum(result.ok for result in outcome.nodes)
    if release.ended:
        return f"the site is ended on {accepted} of {count(len(outcome.nodes), 'node')}"
    if outcome.unchanged and all(result.state == "already" for result in outcome.nodes):
        return f"already published as release {release.seq}; nothing has changed"
    if not accepted:
        return f"release {release.seq} was accepted by no node"
    return f"published release {release.seq} to {accepted} of {count(len(outcome.nodes), 'node')}"


def _size(size_bytes: int, block_count: int) -> str:
    return f"{human_size(size_bytes)} in {count(block_count, 'block')}"


def _result(result: NodeResult) -> str:
    match result.state:
        case "accepted":
            return "accepted"
        case "already":
            return "had it already"
        case "refused":
            return f"refused: {result.reason} ({result.code})"
        case "failed":
            return f"failed: {result.reason} ({result.code})"


def _new(result: NodeResult) -> str:
    return _size(result.new_bytes, result.new_blocks) if result.ok and result.new_blocks else "-"
