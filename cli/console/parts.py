"""What pages are made of: forms, tables, pages of rows, the frame around all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from cli.console.asking import Asked, Notice, Page
from cli.console.markup import Attribute, Content, Html, bdi, el, join, text
from cli.tables import ago

ROWS = 50
"""In a table of one page."""

PLACES = (
    ("", "Overview"),
    ("sites", "Sites"),
    ("reports", "Reports"),
    ("lists", "Lists"),
    ("rules", "Rules"),
    ("log", "Log"),
)
ALWAYS_KEYS = (
    ("1–6", "the pages above"),
    ("j k", "next and previous row"),
    ("Enter", "open the row, or press the button"),
    ("Esc", "leave a field"),
)


def link(asked: Asked, words: Content, path: str, /, *, key: str | None = None, **query: object) -> Html:
    """To a page of the console."""
    return el("a", words, href=asked.url(path, **query), data_key=key, accesskey=key)


def outside(url: str) -> Html:
    """To a page outside, if it can be one: text otherwise."""
    if not url.startswith(("http://", "https://")):
        return text(url)
    return el("a", bdi(url), href=url, rel="noreferrer", target="_blank")


def form(asked: Asked, path: str, /, *content: Content, class_: str = "", **hidden: object) -> Html:
    """A form that changes something. hidden: fields that nobody sees."""
    fields = [el("input", type="hidden", name=name, value=str(value)) for name, value in hidden.items()]
    secret = el("input", type="hidden", name="csrf", value=asked.session.csrf)
    return el("form", secret, fields, *content, method="post", action=asked.url(path), class_=class_ or None)


def button(words: str, *, key: str | None = None, **attributes: Attribute) -> Html:
    """key: pressing it moves here; as an access key (Alt, or Alt+Shift) it presses the button, without script too."""
    shown = (" ", el("kbd", key, aria_hidden="true")) if key else None
    return el("button", words, shown, data_key=key, accesskey=key, **attributes)


def field(words: str, control: Html, *, hint: str = "") -> Html:
    return el("label", el("span", words), control, el("small", hint) if hint else None)


def tick(words: str, name: str, value: str = "1") -> Html:
    return el("label", el("input", type="checkbox", name=name, value=value), " ", words, class_="tick")


def select(name: str, choices: Iterable[tuple[str, str]], chosen: str = "") -> Html:
    options = [el("option", words, value=value, selected=value == chosen) for value, words in choices]
    return el("select", options, name=name)


def table(head: Sequence[str], rows: Iterable[Sequence[Content]], *, caption: str) -> Html:
    """Each cell knows its column's name, which a narrow screen shows in place of the head."""
    body = [
        el(
            "tr",
            (
                el("td", el("div", cell), data_label=name or None, role="cell")
                for name, cell in zip(head, row, strict=True)
            ),
            role="row",
        )
        for row in rows
    ]
    heads = el("tr", (el("th", name, scope="col", role="columnheader") for name in head), role="row")
    return el(
        "table",
        el("caption", caption, class_="unseen"),
        el("thead", heads, role="rowgroup"),
        el("tbody", body, role="rowgroup"),
        role="table",
    )


def facts(rows: Iterable[tuple[str, Content]]) -> Html:
    """Names and values; empty ones are left out."""
    filled = [(name, join(value)) for name, value in rows]
    return el("dl", ((el("dt", name), el("dd", value)) for name, value in filled if value))


def pager(asked: Asked, path: str, offset: int, total: int, *, rows: int = ROWS, **query: object) -> Html:
    """Where this page is among all rows, with links to the ones around it."""
    if total <= rows and not offset:
        return Html("")
    parts: list[Content] = [f"{offset + 1:,}–{min(offset + rows, total):,} of {total:,}"]
    if offset:
        parts.append(link(asked, "Previous", path, key="p", offset=max(0, offset - rows), **query))
    if offset + rows < total:
        parts.append(link(asked, "Next", path, key="n", offset=offset + rows, **query))
    return el("nav", (el("span", part) for part in parts), class_="pager", aria_label="Pages")


def when(unix_s: float | None) -> Html:
    """How long ago, with the moment itself on demand."""
    if not unix_s:
        return text("–")
    return el("time", ago(unix_s), datetime=datetime.fromtimestamp(unix_s, UTC).isoformat(), title=day(unix_s))


def day(unix_s: float) -> str:
    """The moment itself, which may be to come."""
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%d %H:%M UTC")


def badge(words: str, kind: str = "") -> Html:
    """kind: good, bad or warn; the words say it, too."""
    return el("span", text(words), class_=f"badge {kind}".strip())


def empty(*content: Content) -> Html:
    """In place of a table that would have no rows."""
    return el("p", *content, class_="empty")


def framed(asked: Asked, page: Page) -> str:
    """The whole document; notices are shown, and forgotten."""
    notices = [_notice(asked, asked.session.notices.popleft()) for _ in range(len(asked.session.notices))]
    places = [
        el("a", words, href=asked.url(path), accesskey=str(number), data_key=str(number),
           aria_current="page" if words == page.here else None)
        for number, (path, words) in enumerate(PLACES, 1)
    ]  # fmt: skip
    keys = [(el("dt", el("kbd", key)), el("dd", does)) for key, does in (*page.keys, *ALWAYS_KEYS)]
    head = join(
        el("meta", charset="utf-8"),
        el("meta", name="viewport", content="width=device-width,initial-scale=1"),
        el("title", text(page.title), " · fednode"),
        el("link", rel="stylesheet", href=asked.url("console.css")),
        el("script", src=asked.url("console.js"), defer=True),
    )
    body = join(
        el("a", "To the content", href="#content", class_="skip"),
        el("header", el("strong", "fednode"), el("nav", places, aria_label="Console")),
        el("main", notices, el("h1", bdi(page.title)), page.body, id="content", tabindex="-1"),
        el("footer", el("details", el("summary", "Keys"), el("dl", keys, class_="keys"),
                        el("p", "Without script: Alt and the key (Firefox: Alt+Shift), or Tab and Enter."))),
    )  # fmt: skip
    return f'<!doctype html><html lang="en">{el("head", head)}{el("body", body)}</html>\n'


def _notice(asked: Asked, notice: Notice) -> Html:
    undo = notice.undo
    back = form(asked, undo.path, button(undo.words, key="z"), **undo.fields) if undo else None
    return el("div", el("p", text(notice.said)), back, class_="notice", role="status")
