"""fednode reports import, and what says that reports are late."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from node.casework.book import ReportBook
from node.casework.model import Report
from tests.unit.cli.conftest import Fednode
from tests.unit.cli.small_daemon import SmallDaemon

CIDS = [
    "bafkreibwmayvvgxt34sv3dyzvmdx4r4xqivucsekbyvajpdk64jbhqrsoq",
    "bafybeicicneu2e36cyy3xiyb2wwkw3t3w6vhjtqrqxkfmvs66uoxg5txwi",
]


def lines(total: int) -> list[str]:
    return [
        json.dumps({"where": CIDS[number % 2], "category": "spam", "why": f"{number} " + "é" * 500}) + "\n"
        for number in range(total)
    ]


def test_a_file_is_imported_into_the_queue(fednode: Fednode, daemon: SmallDaemon, tmp_path: Path) -> None:
    path = tmp_path / "reports.jsonl"
    path.write_text("".join(lines(100)))
    done = fednode("reports", "import", path, "--json").json
    assert done["taken"] == len(set(done["statuses"])) == 100
    found = fednode("reports", "list", "--json").json
    assert [case["count"] for case in found["cases"]] == [50, 50]
    case = fednode("reports", "show", "1", "--json").json
    assert [report["why"].split()[0] for report in case["reports"]] == [str(number) for number in range(0, 100, 2)]


@pytest.mark.parametrize("url", ["node.example", "ftp://node.example", "https://[::1", "http://node.example:port/"])
def test_an_address_that_is_none_is_said(fednode: Fednode, url: str) -> None:
    for ran in (
        fednode("report", CIDS[0], "--to", url, "--category", "spam", "--why", "x"),
        fednode("log", "verify", url),
    ):
        assert ran.code == 2
        assert f"{url!r} is no address" in ran.err
        assert "hint: give it as https://NODE" in ran.err


def test_a_category_that_there_is_not_is_said(fednode: Fednode, daemon: SmallDaemon) -> None:
    for verb in (["list"], ["decide", "dismiss", "--reason", "x"]):
        ran = fednode("reports", *verb, "--category", "spma")
        assert (ran.code, "spma" in ran.err, "copyright" in ran.err) == (2, True, True)
    assert fednode("reports", "list", "--category", "appeal").code == 0


def test_a_bad_line_refuses_the_whole_file(fednode: Fednode, daemon: SmallDaemon, tmp_path: Path) -> None:
    path = tmp_path / "reports.jsonl"
    path.write_text("".join([*lines(3), '{"where": "nothing"}\n']))
    ran = fednode("reports", "import", path)
    assert (ran.code, "line 4: " in ran.err) == (1, True)
    assert fednode("reports", "list", "--json").json["backlog"]["open"] == 0


def test_what_there_is_no_room_for_is_said(
    fednode: Fednode, daemon: SmallDaemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.casework.book.REPORTS_MAX", 70)
    path = tmp_path / "reports.jsonl"
    path.write_text("".join(lines(100)))
    ran = fednode("reports", "import", path)
    taken = fednode("reports", "list", "--json").json["cases"]
    assert ran.code == 1
    assert 0 < sum(case["count"] for case in taken) <= 70
    assert f"{sum(case['count'] for case in taken)} of 100 reports taken" in ran.err


def test_late_reports_are_said_everywhere(fednode: Fednode, daemon: SmallDaemon) -> None:
    doctor = {check["name"]: check for check in fednode("doctor", "--json").json["checks"]}
    assert doctor["reports"]["ok"]
    assert "reports" not in fednode("status").out
    two_hours_ago = ReportBook(daemon.paths.reports, now_s=lambda: int(time.time()) - 7200)
    two_hours_ago.add([Report(f"/ipfs/{CIDS[0]}", CIDS[0], "child-abuse", "why")])
    two_hours_ago.close()
    doctor = {check["name"]: check for check in fednode("doctor", "--json").json["checks"]}
    assert not doctor["reports"]["ok"]
    assert doctor["reports"]["message"] == "1 open case, 1 late, the oldest by 1 hour"
    assert "1 open case, 1 late, the oldest by 1 h" in fednode("status").out
    backlog = fednode("status", "--json").json["reports"]
    assert (backlog["open"], backlog["late"], 3600 <= backlog["oldest_late_s"] < 3700) == (1, 1, True)
    metrics = fednode("metrics").out
    assert "\nfednode_reports_late 1\n" in metrics
    assert "\nfednode_reports_oldest_late_seconds 36" in metrics
