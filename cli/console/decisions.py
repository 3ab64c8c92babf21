"""The decision log, the newest first."""

from __future__ import annotations

from contextlib import closing
from typing import Any

from cli.console.asking import Answer, Asked, Goto, Notice, Page
from cli.console.markup import Content, Html, bdi, code, el, join, text
from cli.console.parts import ROWS, badge, button, empty, form, link, pager, table, when
from node.decisions.reader import LogReader
from node.decisions.shape import entry_json

Json = dict[str, Any]
KINDS = {"refuse": "bad", "quarantine": "bad", "allow": "good", "dismiss": "good"}


def log(asked: Asked) -> Page:
    """`at`: the page with this entry; `offset`: counted from the newest."""
    if not asked.log.exists():
        return Page("Log", empty("There is no log yet."), here="Log")
    with closing(LogReader(asked.log)) as reader:
        head = reader.head().head
        offset = asked.query.number("offset")
        if asked.query.has("at"):
            offset = max(0, head.size - 1 - asked.query.number("at"))
        end = max(0, head.size - offset)
        page = reader.entries(max(0, end - ROWS), end)
    entries = [entry_json(each.raw, each.entry, each.opened, withheld=each.withheld) for each in reversed(page)]
    rows = (
        table(("No.", "When", "Act", "About", "Reason", ""), (_row(asked, each) for each in entries), caption="Entries")
        if entries
        else empty("Nothing was decided yet.")
    )
    told = el("p", f"{head.size:,} entries, signed by ", code(str(head.key)), ". Anybody can check them: ",
              el("code", "fednode log verify URL"))  # fmt: skip
    return Page("Log", join(told, rows, pager(asked, "log", offset, head.size)), here="Log")


def _row(asked: Asked, entry: Json) -> tuple[Content, ...]:
    texts = {name: each["text"] for name, each in entry["opened"].items()}
    about: Content = "withheld" if entry["withheld"] else code(texts.get("target", entry["list"] or "–"))
    rules = f" {entry['list_rules']:,} rules" if entry["list_rules"] is not None else None
    verdict = badge(", ".join(filter(None, (entry["verdict"], entry["ground"]))), KINDS.get(entry["verdict"], ""))
    return (
        el("span", f"{entry['number']}", class_="pick", tabindex="0"),
        when(entry["time_s"]),
        join(text(entry["act"]), " ", verdict if entry["verdict"] else None),
        join(about, rules),
        bdi(texts.get("reason", "–")),
        _withhold(asked, entry),
    )


def _withhold(asked: Asked, entry: Json) -> Html | None:
    if entry["withheld"] or not entry["opened"]:
        return None
    return link(asked, "Withhold", "log/withhold", number=str(entry["number"]))


def ask_withhold(asked: Asked) -> Page:
    number = asked.query.number("number")
    body = join(
        el("p", f"Entry {number} stays in the log, which stays provable; but what it is about and why is no longer "
                "published. It cannot be undone."),
        form(asked, "log/withheld", button("Withhold it", class_="strong"), number=number),
        el("p", link(asked, "Do nothing", "log")),
    )  # fmt: skip
    return Page(f"Withhold entry {number}?", body, here="Log")


def withhold(asked: Asked) -> Answer:
    number = asked.form.number("number")
    asked.client.withhold(number)
    return Goto(
        asked.url("log", at=str(number)), Notice(f"Entry {number} is published without what it is about and why.")
    )
