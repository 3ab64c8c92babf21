"""How the node is, and what wants attention."""

from __future__ import annotations

from typing import Any

from cli.console.asking import Asked, Page
from cli.console.markup import Content, Html, el, join, text
from cli.console.parts import facts, link
from cli.tables import count, duration, human_size

Json = dict[str, Any]


def overview(asked: Asked) -> Page:
    status = asked.client.status()
    checks = asked.client.doctor()["checks"]
    body = join(_attention(asked, checks), _cards(asked, status, checks), el("h2", "This node"), _about(status))
    return Page(status["name"] or "This node", body, here="Overview")


def _attention(asked: Asked, checks: list[Json]) -> Html:
    wrong = [check for check in checks if not check["ok"]]
    if not wrong:
        return el("p", f"All {len(checks)} checks are well.", class_="well")
    rows = [
        el("li", el("strong", text(check["name"])), ": ", text(check["message"]),
           el("p", text(check["hint"]), class_="hint") if check["hint"] else None)
        for check in wrong
    ]  # fmt: skip
    return el("section", el("h2", "Needs attention"), el("ul", rows), class_="attention")


def _cards(asked: Asked, status: Json, checks: list[Json]) -> Html:
    reports, sites, store = status["reports"], status["sites"], status["store"]
    late = (
        f"{reports['late']} late, the oldest by {duration(reports['oldest_late_s'])}"
        if reports["late"]
        else "none late"
    )
    more = ", ".join(f"{sites[state]} {state}" for state in ("blocked", "fetching", "ended") if sites[state])
    workers = status["gateway"]["workers"]
    requests = sum(int(worker.get("requests", 0)) for worker in workers)
    lists = status["blocklists"]
    troubled = sum(entry["error"] is not None for entry in lists)
    rules = count(sum(int(entry["rule_count"]) for entry in lists), "rule")
    announcing, wrong = status["announcing"], [check["name"] for check in checks if not check["ok"]]
    behind = f"{duration(announcing['late_s'])} behind" if announcing["late_s"] else "on time"
    quota = max(1, store["quota_bytes"])
    meter = el("meter", f"{store['used_bytes'] * 100 // quota} %", min=0, max=quota, value=store["used_bytes"],
               high=quota * 9 // 10, aria_label="part of the quota in use")  # fmt: skip
    cards = (
        _card(link(asked, "Reports", "reports"), count(reports["open"], "open case"), late, bad=bool(reports["late"])),
        _card(link(asked, "Sites", "sites"), f"{sites['hosted']:,} hosted", more or "none refused"),
        _card("Disk", f"{human_size(store['used_bytes'])} of {human_size(store['quota_bytes'])}", meter),
        _card("Requests", f"{requests:,}", "of readers, since the start"),
        _card(link(asked, "Lists", "lists"), count(len(lists), "list"),
              f"{troubled} need attention" if troubled else rules, bad=bool(troubled)),
        _card("Announced", count(announcing["sites"], "site"), behind, bad="announcing" in wrong),
    )  # fmt: skip
    return el("div", cards, class_="cards")


def _card(title: Content, figure: str, more: Content, *, bad: bool = False) -> Html:
    return el("section", el("h2", title), el("p", figure, class_="figure"), el("p", more),
              class_="card bad" if bad else "card")  # fmt: skip


def _about(status: Json) -> Html:
    store, network, hosting = status["store"], status["network"], status["hosting"]
    return facts(
        [
            ("Version", f"{status['version']}, up {duration(status['uptime_s'])}"),
            ("Hosting", f"{hosting['mode']}, follows {count(len(hosting['follow']), 'site')}"),
            ("Network", f"{network['state']}, {count(network['peers'], 'peer')}"),
            ("Cache", f"{human_size(store['cache_bytes'])} of {human_size(store['cache_quota_bytes'])}"),
            ("Damaged blocks", str(store["corrupt_blocks"]) if store["corrupt_blocks"] else ""),
            ("Readers", ", ".join(f"http://{address}/" for address in status["gateway"]["addresses"])),
            ("Peer id", el("code", text(status["peer_id"]))),
            ("Data", el("code", text(status["data_dir"]))),
        ]
    )
