"""What is hosted: all sites by pages, and one site with what can be done to it."""

from __future__ import annotations

from typing import Any

from cli.console.asking import Answer, Asked, Goto, Notice, Page, Undo
from cli.console.markup import Content, Html, bdi, code, el, join, text
from cli.console.parts import (
    ROWS,
    badge,
    button,
    day,
    empty,
    facts,
    field,
    form,
    link,
    outside,
    pager,
    select,
    table,
    when,
)
from cli.console.refusing import block_form, undo_form
from cli.tables import count, human_size
from node.admin.control import SITE_STATES

Json = dict[str, Any]
KINDS = {"hosted": "good", "quarantined": "bad", "refused": "bad", "updating": "warn", "fetching": "warn"}
SORTS = (("site", "by id"), ("size", "largest first"), ("updated", "latest first"))


def sites(asked: Asked) -> Page:
    query = asked.query
    find, state = query.text("find"), query.one_of("state", SITE_STATES)
    sort, offset = query.one_of("sort", [value for value, _ in SORTS]) or "site", query.number("offset")
    found = asked.client.sites_page(find=find, state=state, sort=sort, offset=offset, limit=ROWS)
    search = el(
        "form",
        field("Find", el("input", type="search", name="find", value=find, data_key="/", placeholder="id or domain")),
        field("State", select("state", [("", "any"), *((each, each) for each in SITE_STATES)], state)),
        field("Order", select("sort", SORTS, sort)),
        button("Show"),
        method="get",
        action=asked.url("sites"),
        class_="row",
        role="search",
    )
    heads = ("Site", "State", "Release", "Size", "Updated")
    if found["total"]:
        rows = table(heads, (_row(asked, site) for site in found["sites"]), caption="Sites")
        told: Content = el("p", f"{count(found['total'], 'site')}, {human_size(found['held_bytes'])} kept here")
    else:
        rows = empty("No site fits.") if find or state else empty("No sites yet: ", el("code", "fednode publish DIR"))
        told = None
    pages = pager(asked, "sites", offset, found["total"], find=find, state=state, sort=sort)
    return Page("Sites", join(search, told, rows, pages), here="Sites", keys=(("/", "find"),))


def _row(asked: Asked, site: Json) -> tuple[Content, ...]:
    head, domains = site["head"], site["head"]["domains"]
    name = el("a", code(site["site"]), href=asked.url("site", id=site["site"]), class_="pick")
    return (
        join(name, el("div", (bdi(", ".join(domains)))) if domains else None),
        badge(site["state"], KINDS.get(site["state"], "")),
        "–" if head["ended"] else f"{head['seq']:,}",
        "–" if head["ended"] else human_size(head["size_bytes"]),
        when(site["updated_s"]),
    )


def site(asked: Asked) -> Page:
    record = asked.client.site(asked.query.text("id"))
    followed = record["site"] in asked.client.status()["hosting"]["follow"]
    target = f"/ipns/{record['site']}"
    body = join(
        el("p", code(record["site"])),
        _summary(record),
        _refusal(asked, record["blocked"]) if record["blocked"] else None,
        _noticed(record["notice"]) if record["notice"] else None,
        el("h2", "Releases"),
        _releases(record),
        el("h2", "What policy says"),
        _acts(asked, asked.client.explain(target)["acts"]),
        el("h2", "Decide"),
        _own_rule(asked, record, target),
        _follow(asked, record["site"], followed=followed),
    )
    title = (record["head"]["domains"] or [f"Site {record['site'][:16]}…"])[0]
    keys = (("q", "to refuse"), ("t", "to take the refusal back"), ("f", "to follow or unfollow"))
    return Page(title, body, here="Sites", keys=keys)


def _summary(record: Json) -> Html:
    fetching = record["fetching"]
    return facts(
        [
            ("State", badge(record["state"], KINDS.get(record["state"], ""))),
            ("Kept here", human_size(record["held_bytes"]) if record["held"] else "nothing"),
            ("Hosts wished for", f"{record['head']['min_hosts']} to {record['head']['max_hosts']}"),
            ("Domains", bdi(", ".join(record["head"]["domains"]))),
            ("Fetching", text(f"release {fetching['seq']} from {fetching['from'] or 'any host'}") if fetching else ""),
            ("Came from", text(record["origin"] or "")),
            ("Updated", when(record["updated_s"])),
            ("Open", [el("div", outside(url)) for url in record["urls"]]),
        ]
    )


def _refusal(asked: Asked, blocked: Json) -> Html:
    by: Content = "the operator of this node"
    if blocked["list"]:
        by = ("the list ", link(asked, text(blocked["list"]), "lists/hits", name=blocked["list"]))
    return el(
        "section",
        el("h2", "Refused"),
        facts(
            [
                ("By", by),
                ("Ground", text(blocked["ground"])),
                ("Reason", bdi(blocked["reason"] or "none was given")),
                ("Rule", code(blocked["rule"]) if blocked["rule"] else ""),
                ("Since", when(blocked["since_s"])),
            ]
        ),
        class_="attention",
    )


def _noticed(notice: Json) -> Html:
    """What the publisher was told: a refusal that holds, or one to come."""
    rows: list[tuple[str, Content]] = [
        (name.removesuffix("_s").replace("_", " ").capitalize(), day(value) if name.endswith("_s") else bdi(str(value)))
        for name, value in notice.items()
        if value not in (None, "")
    ]
    return el("section", el("h2", "Notice to the publisher"), facts(rows))


def _releases(record: Json) -> Html:
    head, held = record["head"], record["held"]
    known = [("newest, kept here" if held and held["seq"] == head["seq"] else "newest", head)]
    if held and held["seq"] != head["seq"]:
        known.append(("kept here", held))
    rows = [
        (f"{each['seq']:,} ({which})", when(each["created_s"]),
         "ended by its publisher" if each["ended"] else human_size(each["size_bytes"]),
         f"{each['block_count']:,}", code(each["root"]) if each["root"] else "–")
        for which, each in known
    ]  # fmt: skip
    return table(("Release", "Signed", "Size", "Blocks", "Root"), rows, caption="Releases")


def _acts(asked: Asked, acts: list[Json]) -> Html:
    rows = []
    for act in acts:
        rule: Content = "–"
        if act["rule"]:
            of = (" of ", link(asked, text(act["list"]), "lists/hits", name=act["list"])) if act["list"] else " (yours)"
            rule = (code(act["rule"]), of)
        kind = "good" if act["verdict"] == "allow" else "bad"
        rows.append((text(act["act"]), badge(act["verdict"], kind), rule, bdi(act["reason"] or "–")))
    return table(("Act", "Verdict", "Rule", "Reason"), rows, caption="Verdicts by act")


def _own_rule(asked: Asked, record: Json, target: str) -> Html:
    blocked = record["blocked"] or record["notice"]  # in force, or to come
    if not blocked or blocked["list"] or not blocked["rule"]:
        return block_form(asked, target, back="site", id=record["site"])
    rule = {**blocked, "target": blocked["rule"]}
    return undo_form(asked, rule, "Take your refusal back", key="t", back="site", id=record["site"])


def _follow(asked: Asked, site_id: str, *, followed: bool) -> Html:
    words = "Stop following" if followed else "Follow: fetch and keep it"
    return form(asked, "follow", button(words, key="f"), site=site_id, undo="1" if followed else "")


def follow(asked: Asked) -> Answer:
    site_id, undo = asked.form.text("site"), asked.form.has("undo") and bool(asked.form.text("undo"))
    if undo:
        asked.client.unfollow(site_id)
    else:
        asked.client.follow(site_id)
    said = "No longer followed." if undo else "Followed: it is fetched and kept."
    back = Undo("Undo", "follow", {"site": site_id, "undo": "" if undo else "1"})
    return Goto(asked.url("site", id=site_id), Notice(said, back))
