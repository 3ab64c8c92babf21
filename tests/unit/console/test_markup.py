"""No text gets out of the place that it was put in, and nothing in it stays hidden."""

from __future__ import annotations

import unicodedata
from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from cli.console.markup import ODD, Html, bdi, code, el, join, text

anything = st.text() | st.text(alphabet="<>\"'&;/= script\u202e\u200b\x00\n")


class Reader(HTMLParser):
    """What a browser makes of it: tags with attributes, and text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def shown(value: str) -> str:
    return "".join(char if unicodedata.category(char) not in ODD else f"U+{ord(char):04X}" for char in value)


@given(anything)
def test_text_stays_text_and_shows_all_of_itself(value: str) -> None:
    for made in (el("p", value), el("p", text(value)), el("p", bdi(value)), el("p", code(value)), el("p", [value])):
        read = Reader(made)
        assert read.text == shown(value)
        assert {tag for tag, _ in read.tags} <= {"p", "span", "bdi", "code"}
        assert read.tags[0] == ("p", {})
        assert all(unicodedata.category(char) not in ODD for char in made)


@given(anything)
def test_attributes_give_back_what_was_put_in(value: str) -> None:
    kept = value.replace("\x00", "").replace("\r", "")
    read = Reader(el("input", type="hidden", value=kept))
    assert read.tags == [("input", {"type": "hidden", "value": kept})]


@given(anything)
def test_markup_that_was_handled_as_a_string_is_text_again(value: str) -> None:
    made = el("b", value)
    assert Reader(el("p", made)).tags[1][0] == "b"
    assert [tag for tag, _ in Reader(el("p", made + "")).tags if tag != "span"] == ["p"]
    assert [tag for tag, _ in Reader(el("p", f"{made}")).tags if tag != "span"] == ["p"]


def test_lines_are_kept_where_they_are_wanted() -> None:
    assert text("a\nb\tc\x07", lines=True) == 'a\nb\tc<span class="odd" title="control character">U+0007</span>'
    assert "U+000A" in text("a\nb")


def test_attribute_names_and_omissions() -> None:
    assert el("a", "x", class_="y", data_key="k", hidden=True, id=None, title=False) == (
        '<a class="y" data-key="k" hidden>x</a>'
    )
    assert join("<", None, 3, Html("<br>")) == "&lt;3<br>"
