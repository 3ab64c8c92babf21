"""What an operator does in the console, and that it is undone by the button that is offered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from node.admin.client import AdminClient
from protocol.site_id import SiteId
from tests.unit.console.conftest import Node, Visitor, forms

PEER = "12D3KooWDVgXx4zcLZT6vhXA8m3LVYSum33U5XKfRo65pWHgqJTN"


def ask(node: Node) -> AdminClient:
    return AdminClient(node.daemon.paths.admin_socket)


async def press_undo(visitor: Visitor, page: str) -> str:
    """The form in the first notice of the page."""
    found = forms(page[page.index('class="notice"') :])[0]
    action = found.pop("@").removeprefix(visitor.base)
    return await visitor.follow(await visitor.post(action, **found))


def rules_on(node: Node, site: str) -> list[tuple[str, str, str]]:
    with ask(node) as client:
        found = [rule for rule in client.rules() if rule["target"] == f"/ipns/{site}"]
        return [(rule["verdict"], rule["ground"], rule["reason"]) for rule in found]


async def test_a_refusal_is_undone_and_put_back(node: Node, visitor: Visitor) -> None:
    target = f"/ipns/{node.sites[0]}"
    given = {"target": target, "reason": "an order", "ground": "legal", "back": "site", "id": node.sites[0]}
    page = await visitor.follow(await visitor.post("rules/add", **given))
    assert "Refused" in page
    assert rules_on(node, node.sites[0]) == [("quarantine", "legal", "an order")]
    page = await press_undo(visitor, page)
    assert rules_on(node, node.sites[0]) == []
    page = await press_undo(visitor, page)
    assert rules_on(node, node.sites[0]) == [("quarantine", "legal", "an order")]
    await press_undo(visitor, page)
    assert rules_on(node, node.sites[0]) == []


async def test_deleting_asks_first(node: Node, visitor: Visitor) -> None:
    target = f"/ipns/{SiteId(bytes(range(32)))}"
    given = {"target": target, "drop": "1", "reason": "gone", "secret": "1", "note": "for me"}
    asked = await visitor.post("rules/add", **given)
    assert asked.status_code == 200
    assert "Delete what is stored?" in asked.text
    with ask(node) as client:
        assert target not in [rule["target"] for rule in client.rules()]
        (sure,) = forms(asked.text)
        assert {name: sure[name] for name in given} == given
        sure.pop("@")
        page = await visitor.follow(await visitor.post("rules/add", **sure))
        assert "Refused" in page
        assert 'value="Undo"' not in page
        client.unblock(target)


async def test_cases_are_decided_one_after_the_other(node: Node, visitor: Visitor) -> None:
    node.report(f"/ipns/{node.sites[0]}", "malware", "bad")
    node.report(f"/ipns/{node.sites[1]}", "spam")
    with ask(node) as client:
        first, second = (str(case["id"]) for case in client.reports()["cases"])
    fields = {"case": first, "verdict": "quarantine", "reason": "malware", "next": "1", "category": ""}
    page = await visitor.follow(await visitor.post("reports/decide", **fields))
    assert f"Case {second}" in page
    assert len(rules_on(node, node.sites[0])) == 1
    await press_undo(visitor, page)
    assert rules_on(node, node.sites[0]) == []
    page = await visitor.follow(await visitor.post("reports/decide", case=second, verdict="dismiss", next="1"))
    assert "Nothing waits." in page
    with ask(node) as client:
        assert client.report(int(second))["reason"] == "nothing here is against the policy of this node"


async def test_many_are_decided_at_once(node: Node, visitor: Visitor) -> None:
    for number in range(60):
        node.report(f"/ipns/number{number}.example", "spam")
    node.report("/ipns/other.example", "copyright")
    with ask(node) as client:
        cases = [str(case["id"]) for case in client.reports(category="spam")["cases"]]
        page = await visitor.follow(
            await visitor.post("reports/decide", case=cases[:3], verdict="refuse", reason="spam")
        )
        assert "3 cases decided" in page
        assert client.reports()["backlog"]["open"] == 58
        asked = await visitor.post("reports/decide", every="1", category="spam", verdict="dismiss", reason="no")
        assert "57 open cases of spam" in asked.text
        assert client.reports()["backlog"]["open"] == 58
        (sure,) = forms(asked.text)
        sure.pop("@")
        await visitor.follow(await visitor.post("reports/decide", **sure))
        assert [case["category"] for case in client.reports()["cases"]] == ["copyright"]
    assert (await visitor.post("reports/decide", verdict="dismiss")).status_code == 400


async def test_a_list_is_previewed_followed_and_undone(node: Node, visitor: Visitor, tmp_path: Path) -> None:
    listed = tmp_path / "bad.deny"
    line = f"/ipns/{node.sites[0]} reason:spam"
    listed.write_text(f"{line}\n/p2p/{PEER} reason:<b>\n")
    node.daemon.store.save_peer(PEER, ["/ip4/127.0.0.1/tcp/1"], 1)
    shown = await visitor.post("lists/preview", source=str(listed), mode="enforce", name="bad", cap="10")
    assert "2 rules hit 1 of 2 hosted sites" in shown.text
    assert "1 of 1 known peer" in shown.text
    assert f"/p2p/{PEER} reason:&lt;b&gt;" in shown.text
    with ask(node) as client:
        assert client.lists() == []
        (follow,) = forms(shown.text)
        follow.pop("@")
        await visitor.follow(await visitor.post("lists/add", **follow))
        assert [(each["name"], each["mode"]) for each in client.lists()] == [("bad", "enforce")]
        page = await visitor.follow(await visitor.post("lists/change", name="bad", action="overrule", line=line))
        assert client.lists()[0]["overruled"] == [line]
        page = await press_undo(visitor, page)
        assert client.lists()[0]["overruled"] == []
        page = await visitor.follow(await visitor.post("lists/change", name="bad", action="review", was="enforce"))
        assert client.lists()[0]["mode"] == "review"
        await press_undo(visitor, page)
        assert client.lists()[0]["mode"] == "enforce"
        page = await visitor.follow(await visitor.post("lists/remove", name="bad"))
        assert client.lists() == []
        page = await press_undo(visitor, page)
        assert client.lists()[0]["mode"] == "enforce"
        await press_undo(visitor, page)


async def test_following_and_withholding(node: Node, visitor: Visitor) -> None:
    site = node.sites[1]
    page = await visitor.follow(await visitor.post("follow", site=site, undo=""))
    with ask(node) as client:
        assert client.status()["hosting"]["follow"] == [site]
        await press_undo(visitor, page)
        assert client.status()["hosting"]["follow"] == []
        client.block("/ipns/secret.example", reason="hush")
        client.unblock("/ipns/secret.example")
    assert "hush" in (await visitor.get("log")).text
    page = (await visitor.get("log")).text
    number = page[: page.index("hush")].rpartition('tabindex="0">')[2].partition("<")[0]
    asked = await visitor.get("log/withhold", number=number)
    (sure,) = forms(asked.text)
    assert sure["number"] == number
    page = await visitor.follow(await visitor.post("log/withheld", number=number))
    assert "hush" not in page.replace("no longer", "")


async def test_errors_of_the_node_are_shown_and_nothing_breaks(node: Node, visitor: Visitor) -> None:
    answer = await visitor.post("rules/add", target="<nonsense>")
    assert answer.status_code == 400
    assert "&lt;nonsense&gt;" in answer.text
    assert (await visitor.get("site", id="k51zz")).status_code == 404
    assert (await visitor.get("reports/case", number="99999")).status_code == 404
    assert (await visitor.get("sites", offset="-1")).status_code == 400
    assert (await visitor.get("lists/hits", name="nothing")).status_code in (404, 409)


async def test_sites_are_found_and_paged(node: Node, visitor: Visitor) -> None:
    page = (await visitor.get("sites", find=node.sites[0][10:])).text
    assert node.sites[0] in page
    assert node.sites[1] not in page
    assert "No site fits." in (await visitor.get("sites", find="nothing")).text
    assert "1 rule" not in (await visitor.get("rules", list="nothing")).text


async def test_decisions_have_a_note_secrecy_and_no_period_as_in_the_commands(node: Node, visitor: Visitor) -> None:
    """Also when all cases are decided, which asks in between; and what is taken back stays as secret as it was."""
    node.report(f"/ipns/{node.sites[0]}", "privacy", "an address")
    node.report(f"/ipns/{node.sites[1]}", "privacy", "a name")
    more = {"note": "a letter of 3 May", "secret": "1", "now": "1", "reason": "order 12/3"}
    with ask(node) as client:

        def rules() -> list[dict[str, Any]]:
            mine = {f"/ipns/{site}" for site in node.sites}
            return [each for each in client.rules() if each["target"] in mine]

        first, _ = (str(case["id"]) for case in client.reports(category="privacy")["cases"])
        page = await visitor.follow(await visitor.post("reports/decide", case=first, verdict="legal", **more))
        (rule,) = rules()
        assert (rule["note"], rule["secret"], rule["ground"]) == ("a letter of 3 May", True, "legal")
        page = await press_undo(visitor, page)
        assert rules() == []
        await press_undo(visitor, page)
        (rule,) = rules()
        assert (rule["note"], rule["secret"], rule["ground"]) == ("a letter of 3 May", True, "legal")
        asked = await visitor.post("reports/decide", every="1", category="privacy", verdict="quarantine", **more)
        assert "Neither subject nor reason" in asked.text
        (sure,) = forms(asked.text)
        sure.pop("@")
        await visitor.follow(await visitor.post("reports/decide", **sure))
        assert {(each["note"], each["secret"]) for each in rules()} == {("a letter of 3 May", True)}
        assert len(rules()) == 2
        # From the page of the site, which does not know that it is secret.
        site = node.sites[1]
        said = {"target": f"/ipns/{site}", "verdict": "quarantine", "reason": "x", "back": "site", "id": site}
        page = await visitor.follow(await visitor.post("rules/remove", **said))
        await press_undo(visitor, page)
        assert {each["secret"] for each in rules()} == {True}
        for each in rules():
            client.unblock(each["target"])


async def test_what_lists_refuse_is_allowed_for_a_while(node: Node, visitor: Visitor) -> None:
    target = f"/ipns/{node.sites[0]}"
    page = await visitor.follow(
        await visitor.post("rules/add", target=target, verdict="allow", reason="a mistake", until="30d", back="rules")
    )
    assert "Allowed, whatever lists say" in page
    with ask(node) as client:

        def rules() -> list[dict[str, Any]]:
            mine = {f"/ipns/{site}" for site in node.sites}
            return [each for each in client.rules() if each["target"] in mine]

        (rule,) = rules()
        assert (rule["verdict"], rule["until_s"] is not None) == ("allow", True)
        page = await press_undo(visitor, page)
        assert rules() == []
        page = await press_undo(visitor, page)
        assert [(each["verdict"], each["until_s"]) for each in rules()] == [("allow", rule["until_s"])]
        client.unblock(target)
    wrong = await visitor.post("rules/add", target=target, verdict="allow", until="soon", back="rules")
    assert wrong.status_code == 400
    assert "neither like 12h" in wrong.text
