"""The operator's own rules: shown, added, taken back."""

from __future__ import annotations

import time
from typing import Any

from cli.console.asking import Answer, Asked, Goto, Notice, Page, Undo
from cli.console.markup import Content, Html, bdi, code, el, join, spoken
from cli.console.parts import ROWS, badge, button, day, empty, field, form, pager, select, table, tick, when
from cli.errors import WrongUsage
from cli.tables import count, human_size
from cli.until import read_until
from node.admin.control import RULES_PAGE_MAX
from protocol.limits import REASON_MAX_CHARS

Json = dict[str, Any]
VERDICTS = ("quarantine", "refuse", "allow")
GROUNDS = (("policy", "my policy (410)"), ("legal", "the law (451)"))


def block_form(asked: Asked, target: str = "", **back: str) -> Html:
    """A refusal to be filled in; of anything, unless a target is given."""
    named = el("input", name="target", required=True, placeholder="k51…, /ipns/…, a CID or /ipfs/…", maxlength=8192)
    return form(
        asked,
        "rules/add",
        None if target else field("What", named),
        field(
            "Reason",
            el("input", name="reason", maxlength=REASON_MAX_CHARS),
            hint="Readers, publishers and the public log get it.",
        ),
        field("Ground", select("ground", GROUNDS)),
        field("Note", el("input", name="note", maxlength=2000), hint="For yourself."),
        field("Ends", el("input", name="until", maxlength=20), hint="By itself: 12h, 30d or a date as 2027-01-31."),
        tick("Keep subject and reason out of the public log", "secret"),
        tick("At once, without a notice period for the publisher", "now"),
        tick("Also delete what is stored (asks first)", "drop"),
        button("Refuse", key="q", class_="strong"),
        class_="stack",
        **({"target": target} if target else {}),
        **back,
    )


def allow_form(asked: Asked, **back: str) -> Html:
    """A rule that lifts what lists say on its target."""
    named = el("input", name="target", required=True, placeholder="k51…, /ipns/…, a CID or /ipfs/…", maxlength=8192)
    return form(
        asked,
        "rules/add",
        field("What", named),
        field("Reason", el("input", name="reason", maxlength=REASON_MAX_CHARS), hint="The public log gets it."),
        field("Note", el("input", name="note", maxlength=2000), hint="For yourself."),
        field("Ends", el("input", name="until", maxlength=20), hint="By itself: 12h, 30d or a date as 2027-01-31."),
        button("Allow", class_="strong"),
        class_="stack",
        verdict="allow",
        **back,
    )


def rules(asked: Asked) -> Page:
    list_name, offset = asked.query.exact("list") or None, asked.query.number("offset")
    found = asked.client.rules_page(list_name=list_name, offset=offset, limit=ROWS)
    pages = pager(asked, "rules", offset, found["total"], list=list_name)
    if list_name is not None:
        listed = [(code(rule["target"]), badge(rule["verdict"]), bdi(rule["reason"] or "–")) for rule in found["rules"]]
        told = el("p", count(found["total"], "rule"), " of the list ", bdi(list_name))
        shown = table(("Target", "Verdict", "Reason"), listed, caption="Rules")
        return Page("Rules of a list", join(told, shown, pages), here="Lists")
    heads = ("Target", "Verdict", "Reason", "Since", "")
    shown = (
        table(heads, (_row(asked, rule) for rule in found["rules"]), caption="Your rules")
        if found["total"]
        else empty("No rules of your own: nothing is refused by you.")
    )
    body = join(
        shown,
        pages,
        el("h2", "Add a rule"),
        block_form(asked, back="rules"),
        el("h2", "Allow what lists refuse"),
        allow_form(asked, back="rules"),
    )
    return Page("Rules", body, here="Rules", keys=(("q", "to refuse"),))


def _row(asked: Asked, rule: Json) -> tuple[Content, ...]:
    target = rule["target"]
    named: Content = code(target)
    if target.startswith("/ipns/k51") and target.count("/") == 2:
        named = el("a", code(target), href=asked.url("site", id=target[6:]), class_="pick")
    return (
        named,
        badge(f"{rule['verdict']}, {rule['ground']}", "" if rule["verdict"] == "allow" else "bad"),
        bdi(rule["reason"] or "–"),
        when(rule["since_s"]),
        undo_form(asked, rule, "Undo", back="rules"),
    )


def undo_form(asked: Asked, rule: Json, words: str, *, key: str | None = None, **back: str) -> Html:
    """Takes a rule of the operator's back; the fields say how to put it in force again."""
    fields = _fields_of(rule)
    told = button(words, key=key, aria_label=spoken(f"{words}: the rule on {rule['target']}"))
    return form(asked, "rules/remove", told, **fields, **back)


def _fields_of(rule: Json) -> dict[str, str]:
    """What is not known of a rule here is asked for when it is taken back."""
    known = ("target", "verdict", "ground", "reason", "note")
    fields: dict[str, str] = {name: str(rule[name]) for name in known if name in rule}
    if rule.get("until_s"):
        fields["until_s"] = str(rule["until_s"])
    return fields | ({"secret": "1"} if rule.get("secret") else {})


def add(asked: Asked) -> Answer:
    given = asked.form
    target, drop = given.text("target"), given.has("drop")
    verdict = given.one_of("verdict", VERDICTS)
    fields = {name: given.text(name) for name in ("target", "reason", "ground", "note", "until", "back", "id")}
    if drop and not given.has("sure"):
        return _ask(asked, fields, {name: "1" for name in ("secret", "now") if given.has(name)})
    done = asked.client.block(
        target,
        ground=given.one_of("ground", ("policy", "legal")) or "policy",
        reason=given.text("reason"),
        drop=drop,
        note=given.text("note"),
        secret=given.has("secret"),
        now=given.has("now"),
        verdict=verdict or None,
        until_s=_until_s(asked),
    )
    rule = done["rule"]
    undo = Undo("Undo", "rules/remove", {**_fields_of(rule), "back": fields["back"], "id": fields["id"]})
    gone = drop and done["drop_s"] <= time.time()
    told = "Allowed, whatever lists say" if verdict == "allow" else _told(done, drop=drop)
    ends = f", until {day(rule['until_s'])}" if rule["until_s"] else ""
    return Goto(back_to(asked), Notice(f"{told}: {rule['target']}{ends}", None if gone else undo))


def _until_s(asked: Asked) -> int | None:
    """When the rule ends by itself; WrongUsage. An undo names the moment itself."""
    if asked.form.has("until_s"):
        return asked.form.number("until_s")
    said = asked.form.text("until")
    until_s = read_until(said, int(time.time())) if said else None
    if said and until_s is None:
        raise WrongUsage(f"{said[:40]!r} is neither like 12h, 30d or 2w nor a date like 2027-01-31")
    return until_s


def _told(done: Json, *, drop: bool) -> str:
    """From when on a new rule holds, and what becomes of what is stored."""
    now_s = time.time()
    said = "Refused" if done["effective_s"] <= now_s else f"Notice given, refused from {day(done['effective_s'])} on"
    if not drop:
        return f"{said}, what is stored stays"
    kept = done["drop_s"] > now_s
    return (
        f"{said}, deleted after {day(done['drop_s'])}" if kept else f"{said}, {human_size(done['freed_bytes'])} deleted"
    )


def _ask(asked: Asked, fields: dict[str, str], ticked: dict[str, str]) -> Page:
    body = join(
        el("p", "This deletes what is stored of ", code(fields["target"]),
           ". To have it again, the node has to fetch it from another host, if there is one."),
        form(asked, "rules/add", button("Delete and refuse", class_="strong"), drop="1", sure="1", **fields, **ticked),
        el("p", el("a", "Do nothing", href=back_to(asked))),
    )  # fmt: skip
    return Page("Delete what is stored?", body)


def remove(asked: Asked) -> Answer:
    """Takes a rule back, and offers to put it in force again."""
    target = asked.form.text("target")
    kept = ("verdict", "ground", "reason", "note", "secret", "until_s")
    again = {name: asked.form.text(name) for name in kept if asked.form.has(name)}
    if "note" not in again:  # so that nothing that was secret is put in force again without its secrecy
        again = _fields_of(_rule_on(asked, target) or {})
    done = asked.client.unblock(target)
    verdict = again.get("verdict", "")
    undo = None
    if verdict in VERDICTS:
        words = "Allow it again" if verdict == "allow" else "Refuse it again"
        back = {name: asked.form.text(name) for name in ("back", "id")}
        undo = Undo(words, "rules/add", {**again, "target": target, **back})
    said = "No longer allowed by you" if verdict == "allow" else "No longer refused"
    return Goto(back_to(asked), Notice(f"{said}: {done['target']}", undo))


def _rule_on(asked: Asked, target: str) -> Json | None:
    offset = 0
    while page := asked.client.rules_page(offset=offset, limit=RULES_PAGE_MAX)["rules"]:
        for rule in page:
            if rule["target"] == target:
                return dict(rule)
        offset += len(page)
    return None


def back_to(asked: Asked) -> str:
    """The page that a form names, of those that may be named."""
    back = asked.form.one_of("back", ("site", "rules", "reports"))
    return asked.url("site", id=asked.form.text("id")) if back == "site" else asked.url(back or "rules")
