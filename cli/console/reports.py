"""The queue of reports and appeals, and one case of it."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from cli.console.asking import Asked, Page
from cli.console.deciding import KEYS, WORDS, decide_forms, kind_of, more_fields, templates, verdict_button, verdicts
from cli.console.markup import Content, Html, bdi, code, el, join, text
from cli.console.parts import ROWS, badge, button, empty, facts, field, form, link, pager, select, table, tick, when
from cli.tables import count, duration
from node.casework.model import LEVELS
from protocol.limits import REASON_MAX_CHARS

Json = dict[str, Any]
SHOWN = ("id", "subject", "category", "first_s", "last_s", "count", "due_s", "rank_s", "state", "reason", "decided_s",
         "entry", "reports")  # fmt: skip


def queue(asked: Asked) -> Page:
    state = asked.query.one_of("state", ("open", "decided")) or "open"
    category, offset = asked.query.one_of("category", tuple(LEVELS)), asked.query.number("offset")
    found = asked.client.reports(state=state, category=category, offset=offset, limit=ROWS + 1)
    cases, backlog = found["cases"][:ROWS], found["backlog"]
    late = f", {backlog['late']:,} late" if backlog["late"] else ""
    told = el("p", count(backlog["open"], "open case") + late)
    # The API counts all open cases and not those of a category: how many pages there are is known as one goes on.
    total = backlog["open"] if state == "open" and not category else offset + len(found["cases"])
    pages = pager(asked, "reports", offset, total, state=state, category=category)
    if not cases:
        rows: Html = empty("Nothing waits." if state == "open" else "Nothing was decided yet.")
    elif state == "open":
        rows = _open_rows(asked, cases, category)
    else:
        rows = table(("Case", "About", "Outcome", "Decided"), (_decided_row(asked, case) for case in cases),
                     caption="Decided cases")  # fmt: skip
    keys = (
        *_letters(verdicts(map(kind_of, cases))),
        ("x", "tick a row"),
        ("a", "tick all rows"),
    )
    body = join(_filters(asked, state, category), told, rows, pages)
    return Page("Reports", body, here="Reports", keys=keys if state == "open" else ())


def _letters(of: Iterable[str]) -> list[tuple[str, str]]:
    return [(KEYS[verdict], WORDS[verdict].lower()) for verdict in of if verdict in KEYS]


def _filters(asked: Asked, state: str, category: str) -> Html:
    kinds = [("", "all"), *((name, found.label) for name, found in LEVELS.items())]
    return el(
        "form",
        field("Category", select("category", kinds, category)),
        field("State", select("state", (("open", "open"), ("decided", "decided")), state)),
        button("Show"),
        method="get",
        action=asked.url("reports"),
        class_="row",
    )


def _open_rows(asked: Asked, cases: list[Json], category: str) -> Html:
    heads = ("", "Case", "About", "Reports", "First", "Due")
    shown = table(heads, (_open_row(asked, case) for case in cases), caption="Open cases, the most urgent first")
    possible = verdicts(kind_of(case) for case in cases)
    usual = dict.fromkeys(each for verdict in possible for each in templates(verdict, category))
    reasons = el("datalist", (el("option", value=each) for each in usual), id="reasons")
    reason = el("input", name="reason", list="reasons", maxlength=REASON_MAX_CHARS,
                placeholder="left empty: the usual one of the verdict")  # fmt: skip
    every = f"All open cases of {LEVELS[category].label}" if category else "All open cases"
    return form(
        asked,
        "reports/decide",
        el("p", link(asked, "Begin with the most urgent case", "reports/case", number=cases[0]["id"], key="o")),
        shown,
        el(
            "fieldset",
            el("legend", "Decide the ticked cases"),
            field("Reason", reason, hint="Readers, reporters and the public log get it."),
            reasons,
            more_fields(possible),
            tick(f"{every}, not only the ticked ones (asks first)", "every"),
            el("div", (verdict_button(verdict) for verdict in possible), class_="buttons"),
            class_="stack",
        ),
        category=category,
    )


def _open_row(asked: Asked, case: Json) -> tuple[Content, ...]:
    number = case["id"]
    picked = el("input", type="checkbox", name="case", value=number, aria_label=f"Case {number}")
    name = el("a", f"{number}", href=asked.url("reports/case", number=number), class_="pick")
    return picked, name, _about(case), f"{case['count']:,}", when(case["first_s"]), _due(case["due_s"])


def _about(case: Json) -> Html:
    kind = kind_of(case)
    named = case["category"] if kind in ("report", case["category"]) else f"{kind}: {case['category']}"
    return join(badge(named, "" if kind == "report" else "warn"), " ", code(case["subject"]))


def _due(due_s: int) -> Html:
    left_s = due_s - time.time()
    return (
        badge(f"{duration(-left_s)} late", "bad")
        if left_s < 0
        else el("span", f"in {duration(left_s)}", class_="whole")
    )


def _decided_row(asked: Asked, case: Json) -> tuple[Content, ...]:
    name = el("a", f"{case['id']}", href=asked.url("reports/case", number=case["id"]), class_="pick")
    return name, _about(case), join(badge(case["state"]), " ", bdi(case["reason"])), when(case["decided_s"])


def case(asked: Asked) -> Page:
    found = asked.client.report(asked.query.number("number"))
    is_open = found["state"] == "open"
    entry = found["entry"]
    more = [(name.removesuffix("_s").replace("_", " ").capitalize(), _extra(name, value))
            for name, value in found.items() if name not in SHOWN and value not in (None, "")]  # fmt: skip
    summary = facts(
        [
            ("About", _subject(asked, found["subject"])),
            (
                "Category",
                text(LEVELS[found["category"]].label if found["category"] in LEVELS else found["category"]),
            ),
            *more,
            ("Reports", f"{found['count']:,}"),
            ("First", when(found["first_s"])),
            ("Last", when(found["last_s"])),
            ("Due", _due(found["due_s"]) if is_open else ""),
            ("Outcome", join(badge(found["state"]), " ", bdi(found["reason"])) if not is_open else ""),
            ("Decided", when(found["decided_s"]) if not is_open else ""),
            ("Log", link(asked, f"entry {entry}", "log", at=str(entry)) if entry is not None else ""),
        ]
    )
    told = el("section", el("h2", "What was reported"), (_report(each) for each in found["reports"]))
    decide = decide_forms(asked, found) if is_open else None
    keys = tuple(_letters(verdicts([kind_of(found)]))) if is_open else ()
    return Page(f"Case {found['id']}", join(summary, decide, told), here="Reports", keys=keys)


def _extra(name: str, value: object) -> Html:
    if name.endswith("_s") and isinstance(value, int):
        return when(value)
    return bdi(value)


def _subject(asked: Asked, subject: str) -> Content:
    if not subject.startswith("/ipns/k51"):
        return code(subject)
    return el("a", code(subject), href=asked.url("site", id=subject.removeprefix("/ipns/").partition("/")[0]))


def _report(report: Json) -> Html:
    texts = [el("p", text(report["why"], lines=True), class_="said", dir="auto")] if report["why"] else []
    texts += [
        el(
            "p",
            el("b", f"{name.capitalize()}: "),
            el("span", text(report[name], lines=True), class_="said", dir="auto"),
        )
        for name in ("where", "evidence", "contact")
        if report.get(name)
    ]
    return el("article", el("p", badge(report["category"]), " ", when(report["at_s"])), texts)
