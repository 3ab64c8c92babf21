"""Lists that are followed: how each stands, what it hits here, and what the operator says to that."""

from __future__ import annotations

from typing import Any

from cli.console.asking import Answer, Asked, Goto, Notice, Page, Undo
from cli.console.markup import Content, Html, bdi, code, el, join, spoken, text
from cli.console.parts import badge, button, empty, facts, field, form, link, select, table, when
from cli.tables import count, human_size

Json = dict[str, Any]
MODES = (
    ("enforce", "enforce: its rules hold"),
    ("review", "review: a line holds once accepted"),
    ("observe", "observe: nothing holds"),
)
MODE_NAMES = tuple(name for name, _ in MODES)
HITS_SHOWN = 200
OPPOSITE = {"overrule": "restore", "restore": "overrule"}


def lists(asked: Asked) -> Page:
    found = asked.client.lists()
    shown: Content = [_list(asked, each) for each in found]
    if not found:
        shown = empty("No lists are followed.")
    return Page("Lists", join(shown, el("h2", "Follow a list"), _add_form(asked)), here="Lists")


def _add_form(asked: Asked) -> Html:
    source = el("input", name="source", required=True, maxlength=4096, placeholder="/file, https://… or a site id")
    cap = el("input", name="cap", type="number", min=0, value=10)
    quorum = el("input", name="quorum", type="number", min=1, value=1)
    return form(
        asked,
        "lists/preview",
        field("Source", source),
        field("Mode", select("mode", MODES, "review")),
        field("Name", el("input", name="name", maxlength=200), hint="The source, if empty. Later names decide."),
        field("Wait if more sites, or more peers, are newly hit than", cap),
        field("Lists that have to agree", quorum, hint="This one among them; 1: it decides alone."),
        button("Show what it would hit", class_="strong"),
        class_="stack",
    )


def _list(asked: Asked, each: Json) -> Html:
    name = each["name"]
    modes = form(asked, "lists/change", field("Mode", select("action", MODES, each["mode"])), button("Change"),
                 class_="row", name=name, was=each["mode"])  # fmt: skip
    actions = el(
        "div",
        link(asked, "What it hits", "lists/hits", name=name),
        link(asked, "Its rules", "rules", list=name),
        form(asked, "lists/remove", button("Stop following"), name=name),
        class_="buttons",
    )
    return el(
        "section",
        el("h2", el("a", bdi(name), href=asked.url("lists/hits", name=name), class_="pick")),
        _waiting(asked, each) if each["pending"] else None,
        el("p", text(each["error"]), class_="attention") if each["error"] and not each["pending"] else None,
        facts(
            [
                ("Source", code(each["path"]) if each["path"] != name else ""),
                ("Rules", f"{each['rule_count']:,}, mode {each['mode']}"),
                ("Needs", f"{each['quorum']} lists that agree" if each["quorum"] > 1 else ""),
                ("Read", when(each["read_s"])),
                ("Looked at", when(each["checked_s"])),
                ("Left out", _problems(each)),
                ("Overruled", [_line(asked, name, line, "restore") for line in each["overruled"]]),
                ("Accepted", [el("div", code(line)) for line in each["accepted"]]),
            ]
        ),
        modes,
        actions,
        class_="list",
    )


def _problems(each: Json) -> Content:
    if not each["problem_count"]:
        return None
    shown = [el("li", f"line {problem['line']}: ", text(problem["message"])) for problem in each["problems"]]
    return el("details", el("summary", count(each["problem_count"], "line")), el("ul", shown))


def _waiting(asked: Asked, each: Json) -> Html:
    name = each["name"]
    return el(
        "div",
        el("p", "A new version waits: ", text(each["pending"])),
        el(
            "div",
            link(asked, "What it would hit", "lists/hits", name=name),
            form(asked, "lists/change", button("Put it in force"), name=name, action="accept"),
            form(asked, "lists/change", button("Drop it"), name=name, action="reject"),
            class_="buttons",
        ),
        class_="attention",
    )


def _line(asked: Asked, name: str, line: str, action: str, words: str = "") -> Html:
    told = button(words or action.capitalize(), aria_label=spoken(f"{action}: {line}"))
    act = form(asked, "lists/change", told, name=name, action=action, line=line)
    return el("div", code(line), " ", act, class_="line")


def hits(asked: Asked) -> Page:
    """What a list that is followed hits, or its waiting version would: each line can be overruled, or accepted."""
    name = asked.query.exact("name")
    each = next((each for each in asked.client.lists() if each["name"] == name), None)
    found = asked.client.list_preview(name)
    accepted = set(each["accepted"]) if each else set()
    review = each is not None and each["mode"] == "review"

    def act(line: str) -> Content:
        if each is None:
            return None
        if review and line not in accepted:
            told = button("Accept", aria_label=spoken(f"Accept: {line}"))
            return form(asked, "lists/change", told, name=name, action="accept", line=line)
        held = badge("accepted", "bad") if review else None
        told = button("Overrule", aria_label=spoken(f"Overrule: {line}"))
        return join(held, " ", form(asked, "lists/change", told, name=name, action="overrule", line=line))

    which = _waiting(asked, each) if each and each["pending"] else None
    overruled = [_line(asked, name, line, "restore") for line in each["overruled"]] if each else []
    body = join(
        which,
        _summary(found),
        _hits(asked, found, act),
        el("section", el("h2", "Overruled lines"), overruled) if overruled else None,
        el("p", link(asked, "All lists", "lists")),
    )
    return Page(f"What {name} hits", body, here="Lists")


def _summary(found: Json) -> Html:
    whole = "" if found["complete"] else " There are too many files to look at all of them."
    return el(
        "p",
        f"{count(found['rule_count'], 'rule')} hit {found['sites_hit']:,} of {count(found['hosted'], 'hosted site')}, "
        f"{human_size(found['bytes_hit'])}, and {found['peers_hit']:,} of {count(found['known_peers'], 'known peer')}."
        f"{whole}",
    )


def _hits(asked: Asked, found: Json, act: Any) -> Html:
    if not found["hits"] and not found["peer_hits"]:
        return empty("It hits no site that is kept here, and no peer that is known.")
    return join(_site_hits(asked, found, act) if found["hits"] else None, _peer_hits(found, act))


def _peer_hits(found: Json, act: Any) -> Html | None:
    shown = found["peer_hits"][:HITS_SHOWN]
    rows = [(code(f"/p2p/{hit['peer']}"), code(hit["line"]), act(hit["line"])) for hit in shown]
    more = el("p", f"and {found['peers_hit'] - len(shown):,} more") if found["peers_hit"] > len(shown) else None
    return join(table(("Peer", "Line", ""), rows, caption="Peers"), more) if rows else None


def _site_hits(asked: Asked, found: Json, act: Any) -> Html:
    shown = found["hits"][:HITS_SHOWN]
    rows = [
        (el("a", code(hit["site"]), href=asked.url("site", id=hit["site"]), class_="pick"),
         bdi(hit["what"] or "the whole site"), code(hit["line"]), act(hit["line"]))
        for hit in shown
    ]  # fmt: skip
    more = el("p", f"and {found['hit_count'] - len(shown):,} more") if found["hit_count"] > len(shown) else None
    return join(table(("Site", "What", "Line", ""), rows, caption="Hits"), more)


def preview(asked: Asked) -> Page:
    """Before a list is followed."""
    given = asked.form
    source, mode = given.text("source"), given.one_of("mode", MODE_NAMES) or "review"
    name, cap, quorum = given.text("name"), given.number("cap", 10), given.number("quorum", 1)
    found: Json | None = None
    if source.startswith(("/", "https://")):
        found = asked.client.list_preview(source)
    told = (
        join(_summary(found), _hits(asked, found, lambda _line: None))
        if found
        else el("p", "The site is followed first; what it hits is shown when it is here.")
    )
    follow = form(
        asked, "lists/add", button("Follow it", key="f", class_="strong"),
        source=source, mode=mode, name=name, cap=cap, quorum=quorum,
    )  # fmt: skip
    body = join(el("p", code(source), f", mode {mode}"), told, follow, el("p", link(asked, "Do nothing", "lists")))
    return Page("What the list would hit", body, here="Lists", keys=(("f", "to follow it"),))


def add(asked: Asked) -> Answer:
    given = asked.form
    status = asked.client.list_add(
        given.text("source"),
        mode=given.one_of("mode", MODE_NAMES) or "review",
        name=given.text("name"),
        cap_sites=given.number("cap", 10),
        quorum=given.number("quorum", 1),
    )
    undo = Undo("Undo", "lists/remove", {"name": status["name"]})
    return Goto(asked.url("lists"), Notice(f"Followed: {status['name']}, mode {status['mode']}", undo))


def remove(asked: Asked) -> Answer:
    name = asked.form.exact("name")
    known = next((each for each in asked.client.lists() if each["name"] == name), None)
    done = asked.client.list_remove(name)
    undo = None
    if known is not None:
        again = {"source": known["path"], "mode": known["mode"], "name": name, "quorum": str(known["quorum"])}
        undo = Undo("Follow it again", "lists/add", again)
    return Goto(asked.url("lists"), Notice(f"No longer followed, all that it did is undone: {done['name']}", undo))


def change(asked: Asked) -> Answer:
    given = asked.form
    name, action, line = given.exact("name"), given.text("action"), given.exact("line") or None
    asked.client.list_change(name, action, line)
    undo = None
    if action in OPPOSITE and line is not None:
        undo = Undo("Undo", "lists/change", {"name": name, "action": OPPOSITE[action], "line": line})
    elif action == "accept" and line is not None:
        undo = Undo("Overrule it", "lists/change", {"name": name, "action": "overrule", "line": line})
    elif action in MODE_NAMES and (was := given.one_of("was", MODE_NAMES)):
        undo = Undo("Undo", "lists/change", {"name": name, "action": was, "was": action})
    said = f"{name}: {action}" + (f" {line}" if line else "")
    return Goto(asked.url("lists/hits", name=name) if line else asked.url("lists"), Notice(said, undo))
