"""fednode show: one site."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from cli.common import config_options, echo_json, json_option
from cli.daemon import SITE, daemon, find_site
from cli.tables import ago, count, echo_fields, human_size, moment

EPILOG = "Exit codes: 0 done; 1 no such site, or several begin like this; 3 no daemon."


@click.command("show", epilog=EPILOG)
@click.argument("site", type=SITE)
@config_options
@json_option
def command(site: str, config_file: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Show one site. A beginning of its id that fits only one site will do."""
    with daemon(config_file, data_dir) as client:
        record = client.site(find_site(client, site))
    if as_json:
        echo_json(record)
    else:
        echo_fields(_fields(record))


def _fields(record: dict[str, Any]) -> list[tuple[str, object]]:
    head, held, blocked, fetching = record["head"], record["held"], record["blocked"], record["fetching"]
    fields: list[tuple[str, object]] = [("site", record["site"]), ("state", record["state"])]
    if blocked:
        fields += _refusal(blocked)
    if record.get("notice"):
        fields += _notice(record["notice"])
    if head["ended"]:
        fields.append(("ended", f"by its publisher, {ago(head['created_s'])}"))
    else:
        fields += _release(head)
    if record.get("fork"):
        fields.append(("fork", f"its key signed two releases {record['fork']['seq']}; the proof: show --json"))
    if held and held["seq"] != head["seq"]:
        fields.append(("kept here", f"release {held['seq']}, {human_size(record['held_bytes'])}"))
    if lacking := record.get("no_room_for"):
        size = human_size(lacking["size_bytes"])
        fields.append(
            ("no room for", f"release {lacking['seq']}, {size}: raise hosting.quota_bytes, or free disk space")
        )
    if fetching:
        fields.append(("fetching", f"release {fetching['seq']} from {fetching['from'] or 'whoever has it'}"))
    if record["hosts"]:
        fields.append(("hosted by", f"{count(record['hosts']['counted'], 'node')}, see: fednode resilience"))
    fields += [("came by", record["origin"]), ("updated", ago(record["updated_s"]))]
    return fields + [("open", url) for url in record["urls"]]


def _refusal(blocked: dict[str, Any]) -> list[tuple[str, object]]:
    by = f"list {blocked['list']}" if blocked["list"] else "this node's operator"
    return [
        ("refused", f"{blocked['ground']}, by {by}, {ago(blocked['since_s'])}"),
        ("reason", blocked["reason"]),
        ("rule", blocked["rule"]),
    ]


def _notice(notice: dict[str, Any]) -> list[tuple[str, object]]:
    fields: list[tuple[str, object]] = [("notice", f"number {notice['number']}, see: fednode notices")]
    if notice["effective_s"] > time.time():
        fields += [
            ("served until", moment(notice["effective_s"])),
            ("then refused", f"{notice['ground']}: {notice['reason'] or 'no reason given'}"),
            ("rule", notice["rule"]),
        ]
    if notice["drop_s"] is not None:
        fields.append(("deleted", moment(notice["drop_s"])))
    return fields


def _release(head: dict[str, Any]) -> list[tuple[str, object]]:
    return [
        ("release", f"{head['seq']}, signed {ago(head['created_s'])}"),
        ("root", head["root"]),
        ("size", f"{human_size(head['size_bytes'])} in {count(head['block_count'], 'block')}"),
        ("hosts", f"{head['min_hosts']} to {head['max_hosts']} wished for"),
        ("domains", ", ".join(head["domains"])),
        *(("found at", address) for address in head["hosts"]),
    ]
