"""fednode status: how the local node is doing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cli.common import config_options, echo_json, json_option
from cli.daemon import daemon
from cli.tables import ago, count, duration, echo_fields, human_size

EPILOG = "Exit codes: 0 the node answered; 3 no daemon."


@click.command("status", epilog=EPILOG)
@config_options
@json_option
def command(config_file: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Show how the local node is doing."""
    with daemon(config_file, data_dir) as client:
        status = client.status()
    if as_json:
        echo_json(status)
    else:
        echo_fields(_fields(status))


def _fields(status: dict[str, Any]) -> list[tuple[str, object]]:
    store, network, sites, gateway = status["store"], status["network"], status["sites"], status["gateway"]
    fields: list[tuple[str, object]] = [
        ("node", status["name"]),
        ("peer id", status["peer_id"]),
        ("version", status["version"]),
        ("up", duration(status["uptime_s"])),
        ("data", status["data_dir"]),
        ("sites", _sites(sites)),
        ("trees", f"{status['trees']} kept"),
        ("hosting", _hosting(status["hosting"])),
        ("disk", f"{human_size(store['used_bytes'])} of {human_size(store['quota_bytes'])} quota"),
        ("cache", f"{human_size(store['cache_bytes'])} of {human_size(store['cache_quota_bytes'])}"),
        ("scrub", _scrub(store["scrub"])),
        ("network", f"{network['state']}, {count(network['peers'], 'peer')}"),
        ("members", _members(status["members"])),
    ]
    if network["twin_at"]:
        fields.append(("twin", f"{network['twin_at']} runs with this node's key (fednode doctor)"))
    if sites["no_room"]:
        fields.append(("no room", f"for the newest release of {count(sites['no_room'], 'site')} (fednode doctor)"))
    if store["corrupt_blocks"]:
        fields.append(("damage", count(store["corrupt_blocks"], "damaged block") + " (fednode doctor)"))
    fields += [("readers", f"http://{address}/") for address in gateway["addresses"]]
    fields += [("nodes", address) for address in status["addresses"]]
    if status["reports"]["open"]:
        fields.append(("reports", _reports(status["reports"])))
    for entry in status["blocklists"]:
        trouble = f"; {entry['error']}" if entry["error"] else ""
        fields.append(("blocklist", f"{entry['path']}: {count(entry['rule_count'], 'rule')}{trouble}"))
    return fields


def _reports(backlog: dict[str, int]) -> str:
    late = f", {backlog['late']} late, the oldest by {duration(backlog['oldest_late_s'])}" if backlog["late"] else ""
    return f"{count(backlog['open'], 'open case')}{late} (fednode reports list)"


def _scrub(scrub: dict[str, int]) -> str:
    part = scrub["read_bytes"] * 100 // max(1, scrub["total_bytes"])
    done = f"all blocks read {ago(scrub['finished_s'])}" if scrub["finished_s"] else "first reading of all blocks"
    return f"{done}, {min(part, 100)} % of this round" + (
        f", {count(scrub['damaged'], 'damaged block')}" if scrub["damaged"] else ""
    )


def _sites(sites: dict[str, int]) -> str:
    more = [f"{sites[state]} {state}" for state in ("fetching", "blocked", "ended") if sites[state]]
    return ", ".join([f"{sites['hosted']} hosted", *more])


def _hosting(hosting: dict[str, Any]) -> str:
    followed = len(hosting["follow"])
    return str(hosting["mode"]) + (f", follows {count(followed, 'site')}" if followed else "")


def _members(members: dict[str, Any]) -> str:
    text = f"{members['known']} known, {members['alive']} alive"
    lacking = members["sites_lacking_hosts"]
    return text + (f"; {count(lacking, 'site')} with too few hosts" if lacking and members["known"] > 1 else "")
