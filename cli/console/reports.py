"""The queue of reports, one case of it, and decisions: one by one or many at once."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from cli.console.asking import Answer, Asked, Goto, Notice, Page, Undo
from cli.console.markup import Content, Html, bdi, code, el, join, text
from cli.console.parts import ROWS, badge, button, empty, facts, field, form, link, pager, select, table, tick, when
from cli.errors import WrongUsage
from cli.tables import count, duration
from node.admin.cases import DECISION
from node.casework.model import LEVELS
from protocol.limits import REASON_MAX_CHARS

Json = dict[str, Any]
KEYS = {"dismiss": "d", "quarantine": "q", "refuse": "r", "legal": "l", "uphold": "u", "lift": "t"}
OF_APPEALS = ("uphold", "lift")
WORDS = {
    "dismiss": "Dismiss",
    "quarantine": "Quarantine (410, kept)",
    "refuse": "Refuse (410)",
    "legal": "Refuse by law (451)",
    "uphold": "Uphold the refusal",
    "lift": "Lift the refusal",
}
TEMPLATES = {
    "dismiss": (
        "nothing here is against the policy of this node",
        "the report does not say enough to decide",
        "this node does not serve it",
        "reported by mistake or in bad faith",
    ),
    "quarantine": ("kept back while it is looked into", "against the policy of this node"),
    "refuse": ("against the policy of this node",),
    "legal": ("a demand of the law", "an order of a court"),
    "uphold": ("the reason of the refusal still holds", "the appeal gives no new reason"),
    "lift": ("the appeal is right", "what it was about is gone"),
}
SHOWN = ("id", "subject", "category", "first_s", "last_s", "count", "due_s", "rank_s", "state", "reason", "decided_s",
         "entry", "reports")  # fmt: skip
AT_A_TIME = 500


def verdicts(kinds: Iterable[str]) -> list[str]:
    """Those of the admin API that cases of these kinds can get."""
    appeals = {kind == "appeal" for kind in kinds}
    return [verdict for verdict in DECISION["verdict"].choices if (verdict in OF_APPEALS) in appeals]


def key_of(verdict: str) -> str | None:
    """The key that a verdict is given by; a verdict that this page has no word for has none."""
    return KEYS.get(verdict)


def templates(verdict: str, category: str = "") -> list[str]:
    """Reasons to choose from, the likeliest first."""
    label = [LEVELS[category].label] if category in LEVELS and category != "other" else []
    usual = list(TEMPLATES.get(verdict, ()))
    return label + usual if verdict in ("quarantine", "refuse") else usual + (label if verdict == "legal" else [])


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
        *_letters(verdicts(map(_kind, cases))),
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
    possible = verdicts(_kind(case) for case in cases)
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
            tick(f"{every}, not only the ticked ones (asks first)", "every"),
            el("div", (_verdict_button(verdict) for verdict in possible), class_="buttons"),
            class_="stack",
        ),
        category=category,
    )


def _verdict_button(verdict: str) -> Html:
    words = WORDS.get(verdict, verdict.capitalize())
    return button(words, key=key_of(verdict), name="verdict", value=verdict, data_verdict=True)


def _open_row(asked: Asked, case: Json) -> tuple[Content, ...]:
    number = case["id"]
    picked = el("input", type="checkbox", name="case", value=number, aria_label=f"Case {number}")
    name = el("a", f"{number}", href=asked.url("reports/case", number=number), class_="pick")
    return picked, name, _about(case), f"{case['count']:,}", when(case["first_s"]), _due(case["due_s"])


def _about(case: Json) -> Html:
    kind = _kind(case)
    named = case["category"] if kind in ("report", case["category"]) else f"{kind}: {case['category']}"
    return join(badge(named, "" if kind == "report" else "warn"), " ", code(case["subject"]))


def _kind(case: Json) -> str:
    return str(case.get("kind", "report"))


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
    decide = _decide_forms(asked, found) if is_open else None
    keys = tuple(_letters(verdicts([_kind(found)]))) if is_open else ()
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


def _decide_forms(asked: Asked, found: Json) -> Html:
    """One form for each verdict, with its likeliest reason filled in: one key moves to its button, Enter presses it."""
    forms = []
    for verdict in verdicts([_kind(found)]):
        reasons = templates(verdict, found["category"])
        listed = f"reasons-{verdict}"
        reason = el("input", name="reason", value=reasons[0] if reasons else "", list=listed, required=True,
                    maxlength=REASON_MAX_CHARS, aria_label=f"Reason to {verdict}")  # fmt: skip
        choices = el("datalist", (el("option", value=each) for each in reasons), id=listed)
        forms.append(
            form(asked, "reports/decide", _verdict_button(verdict), reason, choices, class_="verdict",
                 case=found["id"], next="1", category="")
        )  # fmt: skip
    return el("section", el("h2", "Decide"), forms, class_="verdicts")


def decide(asked: Asked) -> Answer:
    given = asked.form
    verdict, category = given.text("verdict"), given.one_of("category", tuple(LEVELS))
    reason = given.text("reason") or (templates(verdict, category) or [""])[0]
    numbers = given.all("case")
    if given.has("every"):
        if not given.has("sure"):
            return _ask(asked, verdict, reason, category)
        numbers = [str(case["id"]) for case in _open_cases(asked, category)]
    if not numbers:
        raise WrongUsage("no case is ticked", hint="tick some, or choose all open cases")
    subjects = [asked.client.report(int(numbers[0]))["subject"]] if len(numbers) == 1 and numbers[0].isdecimal() else []
    decided = rules = 0
    for start in range(0, len(numbers), AT_A_TIME):
        part = ",".join(numbers[start : start + AT_A_TIME])
        done = asked.client.decide(part, verdict=verdict, reason=reason)
        decided, rules = decided + done["decided"], rules + done["rules"]
    said = f"{count(decided, 'case')} decided ({verdict}), {count(rules, 'rule')} in force: {reason}"
    undo = None
    if rules and subjects:
        fields = {
            "target": subjects[0],
            "verdict": "refuse" if verdict == "refuse" else "quarantine",
            "ground": "legal" if verdict == "legal" else "policy",
            "reason": reason,
            "back": "reports",
        }
        undo = Undo("Take the rule back", "rules/remove", fields)
    return Goto(_after(asked, one_by_one=given.has("next")), Notice(said, undo))


def _after(asked: Asked, *, one_by_one: bool) -> str:
    """Who decides case by case goes on with the next one."""
    following: Sequence[Json] = asked.client.reports(limit=1)["cases"] if one_by_one else ()
    return asked.url("reports/case", number=following[0]["id"]) if following else asked.url("reports")


def _ask(asked: Asked, verdict: str, reason: str, category: str) -> Page:
    how_many = (
        sum(1 for _ in _open_cases(asked, category)) if category else asked.client.reports(limit=1)["backlog"]["open"]
    )
    of = f" of {LEVELS[category].label}" if category else ""
    body = join(
        el("p", f"{count(how_many, 'open case')}{of}: {WORDS.get(verdict, verdict)}, for the reason: ", bdi(reason)),
        form(asked, "reports/decide", button(f"Decide {count(how_many, 'case')}", class_="strong"),
             every="1", sure="1", verdict=verdict, reason=reason, category=category),
        el("p", link(asked, "Do nothing", "reports")),
    )  # fmt: skip
    return Page("Decide all of them?", body, here="Reports")


def _open_cases(asked: Asked, category: str) -> Iterator[Json]:
    offset = 0
    while page := asked.client.reports(category=category, offset=offset, limit=500)["cases"]:
        yield from page
        offset += len(page)
