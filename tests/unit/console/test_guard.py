"""Who is let in, and what every answer carries."""

from __future__ import annotations

import pytest

from tests.unit.console.conftest import ORIGIN, PORT, Node, Visitor, visitor_of


async def test_the_address_works_once(outside: Visitor) -> None:
    token = outside.keys.once
    assert (await outside.http.get("/open?token=wrong")).status_code == 403
    assert (await outside.http.head(f"/open?token={token}")).status_code == 403
    answer = await outside.enter()
    cookie = answer.headers["set-cookie"]
    assert answer.status_code == 200
    assert f"Path=/{outside.keys.room}/" in cookie
    assert {"HttpOnly", "SameSite=strict"} <= set(cookie.split("; "))
    assert "Domain" not in cookie
    assert f'content="0;url={outside.base}"' in answer.text
    assert (await outside.http.get(f"/open?token={token}")).status_code == 403
    assert (await outside.get("")).status_code == 200


async def test_without_the_cookie_nothing_is_shown(outside: Visitor) -> None:
    for path in ("", "sites", "console.css", "nowhere"):
        assert (await outside.get(path)).status_code == 403
    outside.http.cookies.set("fednode-console", "guessed", domain="127.0.0.1")
    assert (await outside.get("")).status_code == 403
    assert outside.used == []


async def test_outside_of_its_folder_there_is_nothing(visitor: Visitor) -> None:
    assert (await visitor.http.get("/")).status_code == 403
    assert (await visitor.http.get("/v1/status")).status_code == 403
    assert (await visitor.get("nowhere")).status_code == 404


@pytest.mark.parametrize("host", ["evil.example", f"evil.example:{PORT}", "127.0.0.1", "127.0.0.1:1", "", "[::1]:4321"])
async def test_other_names_of_this_machine_are_not_answered(visitor: Visitor, host: str) -> None:
    answer = await visitor.http.get(visitor.base, headers={"Host": host})
    assert answer.status_code == 421
    assert visitor.keys.room not in answer.text
    assert (await visitor.http.get(f"/open?token={visitor.keys.once}", headers={"Host": host})).status_code == 421


async def test_localhost_is_a_name_of_it(visitor: Visitor) -> None:
    cookie = visitor.http.cookies["fednode-console"]
    headers = {"Host": f"localhost:{PORT}", "Cookie": f"fednode-console={cookie}"}
    assert (await visitor.http.get(visitor.base, headers=headers)).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "null"},
        {"Origin": "http://evil.example"},
        {"Origin": f"http://localhost:{PORT}"},  # the page came from 127.0.0.1
        {"Origin": "http://127.0.0.1:8080"},  # a site that is read at this node's own gateway
        {"Origin": f"https://127.0.0.1:{PORT}"},
        {"Origin": ORIGIN, "Sec-Fetch-Site": "same-site"},
        {"Origin": ORIGIN, "Sec-Fetch-Site": "cross-site"},
    ],
)
async def test_forms_of_other_pages_change_nothing(node: Node, visitor: Visitor, headers: dict[str, str]) -> None:
    data = {"csrf": visitor.keys.csrf, "target": f"/ipns/{node.sites[0]}"}
    answer = await visitor.http.post(visitor.base + "rules/add", data=data, headers=headers)
    assert answer.status_code == 403
    assert node.daemon.store.rules() == []


@pytest.mark.parametrize("csrf", ["", "guessed", "ü"])
async def test_forms_without_their_token_change_nothing(node: Node, visitor: Visitor, csrf: str) -> None:
    answer = await visitor.post("rules/add", target=f"/ipns/{node.sites[0]}", csrf=csrf)
    assert answer.status_code == 403
    assert node.daemon.store.rules() == []


async def test_reading_changes_nothing(node: Node, visitor: Visitor) -> None:
    answer = await visitor.get("rules/add", csrf=visitor.keys.csrf, target=f"/ipns/{node.sites[0]}")
    assert answer.status_code == 405
    assert node.daemon.store.rules() == []


async def test_every_answer_is_kept_from_frames_caches_and_scripts(visitor: Visitor) -> None:
    for answer in (await visitor.get(""), await visitor.get("nowhere"), await visitor.http.get("/"),
                   await visitor.http.get("/", headers={"Host": "evil.example"})):  # fmt: skip
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["referrer-policy"] == "same-origin"


async def test_too_much_is_refused(visitor: Visitor) -> None:
    assert (await visitor.post("rules/add", target="x" * 600_000)).status_code == 413
    many = {f"case{number}": "1" for number in range(3000)}
    assert (await visitor.post("reports/decide", **many)).status_code == 400


async def test_a_node_that_stopped_is_said_on_the_page(node: Node) -> None:
    paths = node.daemon.paths
    away = visitor_of(paths.run_dir / "nobody.sock", paths.decisions)
    async with away.http:
        await away.enter()
        answer = await away.get("")
        assert answer.status_code == 503
        assert "no node is running" in answer.text
