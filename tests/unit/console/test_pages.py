"""Every page with hostile text in every place: whatever the node answers, the page keeps its shape."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cli.console.app import DONE, SHOWN
from cli.console.asking import Asked, Fields, Notice, Page, Session, Undo
from cli.console.parts import framed
from node.admin.client import AdminClient
from tests.unit.console.conftest import EVIL, Node
from tests.unit.console.test_markup import Reader

BASE = "/room/"
hostile = st.just(EVIL) | st.text(min_size=1, max_size=30) | st.text(alphabet="<>\"'&/=\u202e\x00 ab", min_size=1)
# Texts that a page tells cases apart by; no publisher, reporter or list writes them.
KEPT = {"verdict", "state", "kind", "mode", "name of check", "act"}


class Recorder:
    """The node's real answers, remembered, to be given again with other texts."""

    def __init__(self, client: AdminClient) -> None:
        self._client = client
        self.answers: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def ask(*arguments: Any, **options: Any) -> Any:
            return self.answers.setdefault(name, getattr(self._client, name)(*arguments, **options))

        return ask


class Replay:
    """A node that answers like the real one, but every text is `said`."""

    def __init__(self, answers: dict[str, Any], said: str) -> None:
        self._answers = answers
        self._said = said

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return lambda *_arguments, **_options: self._other(copy.deepcopy(self._answers[name]), "")

    def _other(self, value: Any, key: str) -> Any:
        if isinstance(value, dict):
            return {name: self._other(each, name) for name, each in value.items()}
        if isinstance(value, list):
            return [self._other(each, key) for each in value]
        return self._said if isinstance(value, str) and key not in KEPT else value


@pytest.fixture(scope="module")
def world(node: Node, tmp_path_factory: pytest.TempPathFactory) -> Node:
    """Something to be seen on every page."""
    with AdminClient(node.daemon.paths.admin_socket) as client:
        client.block("/ipns/bad.example", reason=EVIL.replace("\u202e", ""))
        client.block("bafkreibwmayvvgxt34sv3dyzvmdx4r4xqivucsekbyvajpdk64jbhqrsoq", ground="legal")
        client.follow(node.sites[1])
        listed = tmp_path_factory.mktemp("lists") / "bad.deny"
        listed.write_text(f"/ipns/{node.sites[1]} reason:spam\n/ipns/worse.example\nnonsense\n")
        client.list_add(str(listed), name="bad", mode="review")
        client.list_change("bad", "overrule", "/ipns/worse.example")
        for category in ("spam", "malware"):
            node.report(f"/ipns/{node.sites[0]}", category, EVIL)
        node.report(f"/ipns/{node.sites[1]}")
        client.decide("2", verdict="dismiss", reason=EVIL.replace("\u202e", ""))
    return node


QUERIES = {
    "site": "id=SITE",
    "reports/case": "number=1",
    "lists/hits": "name=bad",
    "log/withhold": "number=0",
}
PAGES = {**{path: (path, QUERIES.get(path, "")) for path in SHOWN},
         "rules of a list": ("rules", "list=bad"), "decided": ("reports", "state=decided"),
         "a decided case": ("reports/case", "number=2")}  # fmt: skip


def page_of(client: Any, node: Node, name: str, said: str = "") -> tuple[str, Page]:
    path, query = PAGES[name]
    session = Session(BASE, "csrf")
    if said:
        session.notices.append(Notice(said, Undo(said, "rules/add", {"target": said})))
    given_query = Fields.read(query.replace("SITE", node.sites[0]).encode())
    asked = Asked(client, session, given_query, Fields(()), node.daemon.paths.decisions)
    page = SHOWN[path](asked)
    return framed(asked, page), page


@pytest.fixture(scope="module")
def recorded(world: Node) -> dict[str, dict[str, Any]]:
    """The answers that each page is made of."""
    found = {}
    with AdminClient(world.daemon.paths.admin_socket) as client:
        for name in PAGES:
            recorder = Recorder(client)
            page_of(recorder, world, name)
            found[name] = recorder.answers
    return found


def shape(page: str) -> list[tuple[str, tuple[str, ...]]]:
    """Tags with the names of their attributes, in order, without those that only show text."""
    return [(tag, tuple(found)) for tag, found in Reader(page).tags if tag not in ("bdi", "span")]


@pytest.mark.parametrize("name", PAGES)
def test_no_text_changes_the_shape_of_a_page(world: Node, recorded: dict[str, dict[str, Any]], name: str) -> None:
    plain, _ = page_of(Replay(recorded[name], "harmless"), world, name, "harmless")

    @settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(hostile)
    def check(said: str) -> None:
        page, _ = page_of(Replay(recorded[name], said), world, name, said)
        assert shape(page) == shape(plain)
        check_tags(page)

    check()


def check_tags(page: str) -> None:
    """Nothing runs but our one file, and no link or form leads elsewhere."""
    scripts = [found for tag, found in Reader(page).tags if tag == "script"]
    assert scripts == [{"src": BASE + "console.js", "defer": None}]
    for tag, found in Reader(page).tags:
        assert tag not in ("img", "iframe", "object", "style", "base", "svg")
        assert not any(name.startswith("on") or name in ("style", "srcdoc", "formaction") for name in found)
        for name in ("href", "src", "action"):
            to = found.get(name) or BASE
            assert to.startswith((BASE, "#content", "http://", "https://")), to
        if (found.get("href") or "").startswith("http"):
            assert found["rel"] == "noreferrer"


def test_every_place_for_text_shows_it(world: Node, recorded: dict[str, dict[str, Any]]) -> None:
    for name in ("site", "reports", "reports/case", "lists", "lists/hits", "rules", "rules of a list", "decided", ""):
        page, _ = page_of(Replay(recorded[name], "\u202eevil"), world, name)
        assert "U+202E" in page, name
        assert "\u202e" not in re.sub(r' (value|name)="[^"]*"', "", page), name


def test_pages_can_be_read_aloud(world: Node, recorded: dict[str, dict[str, Any]]) -> None:
    """One heading of the first level, a language, a label for every field, a caption for every table."""
    for name in PAGES:
        page, _ = page_of(Replay(recorded[name], "x"), world, name)
        tags = Reader(page).tags
        names = [tag for tag, _ in tags]
        assert names.count("h1") == names.count("main") == names.count("title") == 1, name
        assert names.count("table") == names.count("caption"), name
        assert dict(tags[0][1]) == {"lang": "en"}
        for at, (tag, found) in enumerate(tags):
            if tag in ("input", "select") and found.get("type") != "hidden":
                labelled = "aria-label" in found or "label" in names[max(0, at - 2) : at]
                assert labelled, (name, found)


def test_every_key_of_a_page_is_listed_and_its_own(world: Node, recorded: dict[str, dict[str, Any]]) -> None:
    for name in PAGES:
        html, page = page_of(Replay(recorded[name], "x"), world, name)
        keys = [found["data-key"] for _, found in Reader(html).tags if "data-key" in found]
        if name != "reports/case":
            assert len(keys) == len(set(keys)), name
        listed = {key for key, _ in page.keys} | set("123456")
        assert {key for key in keys if key} <= listed | {"o", "n", "p"}, name


def test_an_appeal_is_upheld_or_lifted_and_a_report_is_not(world: Node, recorded: dict[str, dict[str, Any]]) -> None:
    def verdicts(kind: str) -> list[str | None]:
        answers = copy.deepcopy(recorded["reports/case"])
        answers["report"]["kind"] = kind
        page, _ = page_of(Replay(answers, "x"), world, "reports/case")
        return [found["value"] for tag, found in Reader(page).tags if found.get("name") == "verdict"]

    assert verdicts("appeal") == ["uphold", "lift"]
    assert verdicts("report") == ["dismiss", "quarantine", "refuse", "legal"]


def test_actions_are_routes_of_their_own() -> None:
    assert not set(SHOWN) & set(DONE)


def test_what_the_console_keeps_of_the_node_is_not_much(tmp_path: Path, world: Node) -> None:
    """Without a log there is a page all the same."""
    asked = Asked(AdminClient(tmp_path / "none"), Session(BASE, "csrf"), Fields(()), Fields(()), tmp_path / "log")
    assert "no log yet" in framed(asked, SHOWN["log"](asked))
