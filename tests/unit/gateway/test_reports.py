"""Reports by HTTP: how many one address may send, and what it is told."""

from __future__ import annotations

import json
import re
import time
from base64 import b64encode
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from node.casework.book import ReportBook
from node.casework.desk import Desk
from node.gateway.app import limit_key
from node.gateway.http1 import REPORTS_PATH, Request
from node.gateway.pages import Self
from node.gateway.report_answers import LOCAL_REPORTS_MAX, PERIOD_S, REPORTS_MAX, ReportAnswers
from node.gateway.response import Response
from node.notices.office import Terms
from protocol.report_proof import prove
from tests.unit.notices.test_office import World

CID = "bafkreibwmayvvgxt34sv3dyzvmdx4r4xqivucsekbyvajpdk64jbhqrsoq"
STRANGER = "203.0.113.9"


@pytest.fixture
def book(tmp_path: Path) -> Iterator[ReportBook]:
    opened = ReportBook(tmp_path / "reports.db", now_s=lambda: 1_000_000)
    yield opened
    opened.close()


@pytest.fixture
def answers(tmp_path: Path, book: ReportBook) -> Iterator[ReportAnswers]:
    world = World(tmp_path, Terms())
    yield ReportAnswers(Self("node", ""), Desk(book, world.office, world.log).answer, limit_key)
    world.close()


async def post(answers: ReportAnswers, reader: str = STRANGER, *, as_json: bool = True) -> Response:
    body = json.dumps({"where": CID, "category": "spam", "why": "an advertisement"}).encode()
    kind = "application/json"
    if not as_json:
        body, kind = f"where={CID}&category=spam&why=x".encode(), "application/x-www-form-urlencoded"
    request = Request("POST", REPORTS_PATH, "node", {"content-type": kind}, True, body=body, reader=reader)
    found = await answers.answer(request, REPORTS_PATH)
    assert found is not None
    return found


def retry_after(response: Response) -> int:
    return int(dict(response.headers)["Retry-After"])


@pytest.mark.parametrize("as_json", [True, False])
async def test_one_address_may_send_so_many_and_then_has_to_wait(
    answers: ReportAnswers, book: ReportBook, as_json: bool
) -> None:
    for _ in range(REPORTS_MAX):
        assert (await post(answers, as_json=as_json)).status == 201
    refused = await post(answers, as_json=as_json)
    assert refused.status == 429
    assert 1 <= retry_after(refused) <= PERIOD_S
    assert b"too many" in (refused.body if isinstance(refused.body, bytes) else b"")
    assert (await post(answers, "203.0.113.10")).status == 201
    (case,) = book.cases()
    assert case.count == REPORTS_MAX + 1


async def test_who_waited_as_long_as_told_may_send_again(
    answers: ReportAnswers, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 1000.0
    monkeypatch.setattr("trio.current_time", lambda: now_s)
    for _ in range(REPORTS_MAX):
        await post(answers)
    now_s += 100.5
    wait_s = retry_after(await post(answers))
    assert wait_s == 500
    now_s += wait_s - 1
    assert (await post(answers)).status == 429
    now_s += 1
    assert (await post(answers)).status == 201


@pytest.mark.parametrize("query", ["a&" * 20, "a=1&" * 20 + "about=x", "about=%ff"])
async def test_any_address_of_the_form_is_answered(answers: ReportAnswers, query: str) -> None:
    found = await answers.answer(Request("GET", f"{REPORTS_PATH}?{query}", "node", {}, True), REPORTS_PATH)
    assert found is not None
    assert found.status == 200


@pytest.mark.parametrize("name", ["why", "where", "proof", "\ud800"])
async def test_half_characters_are_refused(answers: ReportAnswers, name: str) -> None:
    body = json.dumps({"where": CID, "category": "spam", "why": "x"} | {name: f"{CID}\ud800"}).encode()
    request = Request("POST", REPORTS_PATH, "node", {"content-type": "application/json"}, True, body=body, reader="::2")
    found = await answers.answer(request, REPORTS_PATH)
    assert found is not None
    assert found.status == 400
    assert b"cannot be read" in (found.body if isinstance(found.body, bytes) else b"")


async def test_this_machine_may_be_a_proxy_for_many(answers: ReportAnswers) -> None:
    statuses = [(await post(answers, "127.0.0.1")).status for _ in range(REPORTS_MAX + 1)]
    assert statuses == [201] * (REPORTS_MAX + 1)
    assert LOCAL_REPORTS_MAX > REPORTS_MAX


async def test_a_full_queue_is_said_with_a_time(answers: ReportAnswers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.casework.book.REPORTS_MAX", 1)
    assert (await post(answers)).status == 201
    refused = await post(answers)
    assert (refused.status, retry_after(refused)) == (503, 60)


async def test_a_proof_of_work_is_asked_for_by_programs_and_not_by_the_form(tmp_path: Path, book: ReportBook) -> None:
    world = World(tmp_path, Terms())
    desk = Desk(book, world.office, world.log, proof_bits=5)
    asking = ReportAnswers(Self("node", ""), desk.answer, limit_key)
    headers = {"accept": "application/json"}
    terms = _read(await asking.answer(Request("GET", REPORTS_PATH, "node", headers, True), REPORTS_PATH))
    assert terms["proof_of_work"] == {"bits": 5, "node": str(world.office.node)}
    assert "malware" in terms["categories"]
    refused = await post(asking)
    assert (refused.status, _read(refused)["proof_of_work"]) == (403, terms["proof_of_work"])
    assert (await post(asking, as_json=False)).status == 201
    report = {"where": CID, "category": "spam", "why": "an advertisement"}
    proof = prove(world.office.node, report, int(time.time()), 5)
    body = json.dumps({**report, "proof": str(proof)}).encode()
    request = Request(
        "POST", REPORTS_PATH, "node", {"content-type": "application/json"}, True, body=body, reader=STRANGER
    )
    answers = [await asking.answer(request, REPORTS_PATH) for _ in range(2)]
    assert [each.status for each in answers if each is not None] == [201, 403]
    assert book.cases()[0].count == 2
    world.close()


def _read(response: Response | None) -> dict[str, Any]:
    assert response is not None
    assert isinstance(response.body, bytes)
    found: dict[str, Any] = json.loads(response.body)
    return found


async def test_the_forms_styles_are_those_that_its_policy_lets_be(answers: ReportAnswers) -> None:
    form = await answers.answer(Request("GET", REPORTS_PATH, "node", {}, True, reader=STRANGER), REPORTS_PATH)
    assert form is not None
    policy = dict(form.headers)["Content-Security-Policy"]
    assert isinstance(form.body, bytes)
    styles = re.findall(rb"<style>(.*?)</style>", form.body, re.S)
    assert len(styles) == 2
    for style in styles:
        assert f"'sha256-{b64encode(sha256(style).digest()).decode()}'" in policy
    assert "unsafe" not in policy
    assert b" style=" not in form.body
