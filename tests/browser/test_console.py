"""The operator's console in a browser: by keyboard alone, with script and without, in light, dark and on a phone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from cli.demo.nodes import fednode
from tests.browser.console_world import EVIL, World, console, world
from tests.browser.devtools import Tab, browser
from tests.browser.test_pages import colours

pytestmark = [pytest.mark.integration, pytest.mark.browser]

# Where a person can look at the pictures after a run.
PICTURES = Path(os.environ.get("FEDNODE_PICTURES", "/tmp/fednode-pictures"))  # noqa: S108 - pictures of tests
LIST = "<b>bad</b> list"


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("world")) as made:
        listed = made.folder / "bad.deny"
        listed.write_text(f"/ipns/{made.sites[1].id} reason:phishing\n/ipns/bad.example\nnonsense\n")
        made.run("list", "add", str(listed), "--name", LIST, "--mode", "review", "--yes")
        made.run("block", "/ipns/bad.example", "--reason", EVIL.replace("\x07", ""))
        yield made


@pytest.fixture
def tab(found: World, tmp_path: Path) -> Iterator[Tab]:
    """A browser on the console's first page."""
    with console(found.daemon.at) as url, browser(tmp_path / "profile") as opened:
        opened.open(url, pages=2)
        yield opened


def go(tab: Tab, key: str) -> None:
    with tab.loading():
        tab.press(key)


def case_of(found: World, category: str) -> int:
    return next(int(case["id"]) for case in found.open_cases() if case["category"] == category)


def state_of(found: World, number: int) -> str:
    return str(found.run("reports", "show", str(number))["state"])


def rule_targets(found: World) -> list[str]:
    return [rule["target"] for rule in found.run("policy", "rules")["rules"]]


def test_a_report_is_decided_and_undone_by_single_keys(found: World, tab: Tab) -> None:
    urgent = found.open_cases()[0]
    go(tab, "3")
    assert tab.url.endswith("/reports")
    go(tab, "o")
    assert f"Case {urgent['id']}" in tab.text
    assert "It asks for passwords of a bank." in tab.text
    tab.press("l")
    assert tab.run("document.activeElement.value") == "legal"
    go(tab, "Enter")
    assert "1 case decided (legal)" in tab.text
    assert state_of(found, urgent["id"]) == "refused by law"
    assert urgent["subject"] in rule_targets(found)
    tab.press("z")
    go(tab, "Enter")
    assert "No longer refused" in tab.text
    assert urgent["subject"] not in rule_targets(found)


def test_rows_are_picked_and_decided_together(found: World, tab: Tab) -> None:
    go(tab, "3")
    number = case_of(found, "privacy")
    while tab.run("document.activeElement.textContent") != str(number):
        tab.press("j")
    tab.press("x")
    assert tab.run("[...document.querySelectorAll('[name=case]:checked')].map(box => box.value)") == [str(number)]
    tab.press("d")
    go(tab, "Enter")
    assert "1 case decided (dismiss)" in tab.text
    assert state_of(found, number) == "dismissed"


def test_without_script_and_without_mouse(found: World, tab: Tab) -> None:
    tab.without_script()
    number = case_of(found, "copyright")
    with tab.loading():
        tab.press("3", modifiers=1)  # the access key: Alt+3
    assert tab.url.endswith("/reports")
    tab.tab_to(f"input[name=case][value='{number}']")
    tab.press(" ")
    tab.tab_to("input[name=reason]")
    tab.type("it is fair use")
    tab.tab_to("button[value=dismiss]")
    go(tab, "Enter")
    assert "it is fair use" in tab.text
    assert state_of(found, number) == "dismissed"


def test_a_publisher_appeals_and_reads_the_answer(found: World, tab: Tab) -> None:
    """From the command of the publisher to the console of the operator and back, with the reason in between."""
    site, text = found.sites[3], "The page was another one.\nIt is gone <b>now</b>."
    found.run("block", site.id, "--now", "--reason", "spam")
    assert found.daemon.get(site.id, "/").status == 410
    there = ["--to", found.daemon.address]
    fednode("appeal", site.id, text, "--key", str(site.key), "--contact", "me@example.org", *there)
    go(tab, "3")
    go(tab, "o")
    assert "appeal" in tab.text
    assert "It is gone <b>now</b>." in tab.text
    assert "me@example.org" in tab.text
    assert "Lift the refusal" in tab.text
    tab.press("t")
    tab.run("document.activeElement.form.reason.value = 'it is gone, indeed'")
    go(tab, "Enter")
    assert "1 case decided (lift)" in tab.text
    assert found.daemon.get(site.id, "/").status == 200
    newest = fednode("notices", site.id, *there)["notices"][0]
    assert (newest["kind"], newest["reason"]) == ("lifted", "it is gone, indeed")


def test_a_case_is_decided_in_secret_and_with_a_note(found: World, tab: Tab) -> None:
    """By keyboard: the fields are folded in behind the button of each verdict."""
    site = found.sites[2]
    number = case_of(found, "spam")
    tab.open(f"{tab.url}reports/case?number={number}")
    tab.tab_to("button[value=legal]")
    tab.tab_to("button[value=legal] ~ details summary")
    tab.press("Enter")
    tab.tab_to("button[value=legal] ~ details input[name=note]")
    tab.type("a letter of 3 May")
    tab.tab_to("button[value=legal] ~ details input[name=secret]")
    tab.press(" ")
    go(tab, "Enter")
    assert "1 case decided (legal)" in tab.text
    rule = next(rule for rule in found.run("policy", "rules")["rules"] if rule["target"] == f"/ipns/{site.id}")
    assert (rule["note"], rule["secret"], rule["ground"]) == ("a letter of 3 May", True, "legal")
    found.run("unblock", site.id)


def test_a_line_of_a_list_is_accepted_and_overruled(found: World, tab: Tab) -> None:
    base = tab.url
    tab.open(f"{base}lists/hits?name={quote(LIST)}")
    tab.tab_to("button[aria-label^=Accept]")
    go(tab, "Enter")
    (status,) = found.run("list", "show")["lists"]
    assert status["accepted"] == [f"/ipns/{found.sites[1].id} reason:phishing"]
    tab.press("z")
    go(tab, "Enter")
    (status,) = found.run("list", "show")["lists"]
    assert status["overruled"] == [f"/ipns/{found.sites[1].id} reason:phishing"]


def test_a_site_that_is_read_in_the_same_browser_cannot_use_the_console(found: World, tab: Tab) -> None:
    base, before = tab.url, rule_targets(found)
    tab.open(found.daemon.url(found.sites[4].id))
    body = f"csrf=guessed&target=/ipns/{found.sites[4].id}"
    form = "{method: 'POST', mode: 'no-cors', credentials: 'include', body: new URLSearchParams('" + body + "')}"
    answer = tab.send(
        "Runtime.evaluate", awaitPromise=True, returnByValue=True,
        expression=f"Promise.all([fetch('{base}rules/add', {form}), fetch('{base}', {{mode: 'no-cors'}})])"
        ".then(() => 'sent', error => String(error))",
    )  # fmt: skip
    assert "result" in answer
    assert rule_targets(found) == before
    tab.run(f"document.body.append(Object.assign(document.createElement('iframe'), {{src: '{base}'}}))")
    assert tab.run("document.querySelector('iframe').contentDocument === null || frames[0].length === 0")
    with tab.loading():
        tab.run(f"location = '{base}'")  # comes from another site: no cookie is sent with it
    assert "another browser" in tab.text


PAGES = ("", "sites", "site?id=SITE", "site?id=k51none", "sites?find=nothing", "reports", "reports?state=decided",
         "reports/case?number=CASE", "lists", "lists/hits?name=" + quote(LIST), "rules", "rules?list=" + quote(LIST),
         "log", "log/withhold?number=0")  # fmt: skip


def test_every_page_is_whole_in_light_and_dark_and_on_a_phone(found: World, tab: Tab) -> None:
    PICTURES.mkdir(parents=True, exist_ok=True)
    base = tab.url
    found.report(found.sites[4], "other", f"Another one: {EVIL}", contact=EVIL)
    number = str(case_of(found, "other"))
    for page in PAGES:
        name = "console-" + "".join(char if char.isalnum() else "-" for char in page.partition("=")[0] or "overview")
        tab.open(base + page.replace("SITE", found.sites[4].id).replace("CASE", number))
        light = tab.picture(PICTURES / f"{name}.png")
        assert tab.overflow() <= 0, page
        dark = tab.picture(PICTURES / f"{name}-dark.png", dark=True)
        tab.picture(PICTURES / f"{name}-phone.png", width=390, height=800)
        assert tab.overflow() <= 0, page
        assert light != dark
        assert colours(light) > 50
        assert "broken" not in tab.run("document.title"), page
        assert tab.run("document.querySelectorAll('img, main script').length") == 0, page
