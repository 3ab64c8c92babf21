"""Decisions on cases: what can be said, the forms for it, and what is done with them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from cli.console.asking import Answer, Asked, Goto, Notice, Page, Undo
from cli.console.markup import Html, bdi, el, join
from cli.console.parts import button, field, form, link, tick
from cli.errors import WrongUsage
from cli.tables import count
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
AT_A_TIME = 500
NOTE_MAX_CHARS = DECISION["note"].max_chars
WAITING = ("quarantine", "refuse")
"""Verdicts that wait for the notice period; the law never does."""


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


def kind_of(case: Json) -> str:
    """report or appeal."""
    return str(case.get("kind", "report"))


def verdict_button(verdict: str) -> Html:
    """A verdict as a button with its key."""
    words = WORDS.get(verdict, verdict.capitalize())
    return button(words, key=key_of(verdict), name="verdict", value=verdict, data_verdict=True)


def more_fields(of: Iterable[str]) -> Html:
    """What else can be said with these verdicts, and seldom is; folded in."""
    fields = [
        field("Note", el("input", name="note", maxlength=NOTE_MAX_CHARS),
              hint="For yourself; the public log has only a commitment to it."),
        tick("Keep subject and reason out of the public log", "secret"),
    ]  # fmt: skip
    words = "Note, secrecy"
    if set(WAITING) & set(of):
        fields.append(tick("At once, without a notice period for the publisher", "now"))
        words = "Note, secrecy, time"
    return el("details", el("summary", words), el("div", fields, class_="stack"), class_="more")


def decide_forms(asked: Asked, found: Json) -> Html:
    """One form for each verdict, with its likeliest reason filled in: one key moves to its button, Enter presses it."""
    forms = []
    for verdict in verdicts([kind_of(found)]):
        reasons = templates(verdict, found["category"])
        listed = f"reasons-{verdict}"
        reason = el("input", name="reason", value=reasons[0] if reasons else "", list=listed, required=True,
                    maxlength=REASON_MAX_CHARS, aria_label=f"Reason to {verdict}")  # fmt: skip
        choices = el("datalist", (el("option", value=each) for each in reasons), id=listed)
        forms.append(
            form(asked, "reports/decide", verdict_button(verdict), reason, choices, more_fields([verdict]),
                 class_="verdict", case=found["id"], next="1", category="")
        )  # fmt: skip
    return el("section", el("h2", "Decide"), forms, class_="verdicts")


def decide(asked: Asked) -> Answer:
    given = asked.form
    verdict, category = given.text("verdict"), given.one_of("category", tuple(LEVELS))
    reason = given.text("reason") or (templates(verdict, category) or [""])[0]
    note, secret, now = given.text("note"), given.has("secret"), given.has("now")
    numbers = given.all("case")
    if given.has("every"):
        numbers = [str(case["id"]) for case in _open_cases(asked, verdict, category)]
        if not given.has("sure"):
            return _ask(asked, verdict, reason, category, len(numbers))
    if not numbers:
        raise WrongUsage("no case is ticked", hint="tick some, or choose all open cases")
    subjects = [asked.client.report(int(numbers[0]))["subject"]] if len(numbers) == 1 and numbers[0].isdecimal() else []
    decided = rules = waiting = 0
    for start in range(0, len(numbers), AT_A_TIME):
        part = ",".join(numbers[start : start + AT_A_TIME])
        done = asked.client.decide(part, verdict=verdict, reason=reason, note=note, secret=secret, now=now)
        decided, rules, waiting = decided + done["decided"], rules + done["rules"], waiting + done["waiting"]
    later = f", {waiting:,} of them from the end of the notice period on" if waiting else ""
    said = f"{count(decided, 'case')} decided ({verdict}), {count(rules, 'rule')} made{later}: {reason}"
    undo = (
        Undo("Take the rule back", "rules/remove", _rule_fields(asked, subjects[0], reason))
        if rules and subjects
        else None
    )
    return Goto(_after(asked, one_by_one=given.has("next")), Notice(said, undo))


def _rule_fields(asked: Asked, subject: str, reason: str) -> dict[str, str]:
    """How the rule of a decision is put in force again, after it was taken back."""
    given = asked.form
    verdict = given.text("verdict")
    fields = {
        "target": subject,
        "verdict": "refuse" if verdict == "refuse" else "quarantine",
        "ground": "legal" if verdict == "legal" else "policy",
        "reason": reason,
        "note": given.text("note"),
        "back": "reports",
    }
    return fields | ({"secret": "1"} if given.has("secret") else {})


def _after(asked: Asked, *, one_by_one: bool) -> str:
    """Who decides case by case goes on with the next one."""
    following: Sequence[Json] = asked.client.reports(limit=1)["cases"] if one_by_one else ()
    return asked.url("reports/case", number=following[0]["id"]) if following else asked.url("reports")


def _ask(asked: Asked, verdict: str, reason: str, category: str, how_many: int) -> Page:
    of = f" of {LEVELS[category].label}" if category else ""
    given = asked.form
    more = {name: "1" for name in ("secret", "now") if given.has(name)} | {"note": given.text("note")}
    body = join(
        el("p", f"{count(how_many, 'open case')}{of}: {WORDS.get(verdict, verdict)}, for the reason: ", bdi(reason)),
        el("p", "Neither subject nor reason will be in the public log.") if given.has("secret") else None,
        el("p", "At once, without a notice period.") if given.has("now") else None,
        form(asked, "reports/decide", button(f"Decide {count(how_many, 'case')}", class_="strong"),
             every="1", sure="1", verdict=verdict, reason=reason, category=category, **more),
        el("p", link(asked, "Do nothing", "reports")),
    )  # fmt: skip
    return Page("Decide all of them?", body, here="Reports")


def _open_cases(asked: Asked, verdict: str, category: str) -> Iterator[Json]:
    """Those that can get the verdict."""
    kind, offset = "appeal" if verdict in OF_APPEALS else "report", 0
    while page := asked.client.reports(category=category, offset=offset, limit=AT_A_TIME)["cases"]:
        yield from (case for case in page if kind_of(case) == kind)
        offset += len(page)
