"""Reports by HTTP: how many one address may send, and what it is told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.casework.book import ReportBook
from node.casework.desk import Desk
from node.gateway.app import limit_key
from node.gateway.http1 import REPORTS_PATH, Request
from node.gateway.pages import Self
from node.gateway.report_answers import LOCAL_REPORTS_MAX, PERIOD_S, REPORTS_MAX, ReportAnswers
from node.gateway.response import Response
from node.notices.office import Terms
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


async def test_this_machine_may_be_a_proxy_for_many(answers: ReportAnswers) -> None:
    statuses = [(await post(answers, "127.0.0.1")).status for _ in range(REPORTS_MAX + 1)]
    assert statuses == [201] * (REPORTS_MAX + 1)
    assert LOCAL_REPORTS_MAX > REPORTS_MAX


async def test_a_full_queue_is_said_with_a_time(answers: ReportAnswers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.casework.book.REPORTS_MAX", 1)
    assert (await post(answers)).status == 201
    refused = await post(answers)
    assert (refused.status, retry_after(refused)) == (503, 60)
