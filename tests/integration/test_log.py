"""The decision log and reports of a real daemon, from outside."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from cli.main import run
from node.decisions.audit import LogWrong, Seen, audit
from node.decisions.shape import PREFIX
from tests.integration.daemons import Daemon, Site, daemon_folder, sample_site

pytestmark = pytest.mark.integration
REPORTS = "/.well-known/fednode/reports"
CID = "bafkreibwmayvvgxt34sv3dyzvmdx4r4xqivucsekbyvajpdk64jbhqrsoq"


@pytest.fixture(scope="module")
def node() -> Iterator[tuple[Daemon, Site, str]]:
    with daemon_folder() as folder:
        daemon = Daemon("a", folder)
        daemon.start()
        try:
            site = sample_site(folder)
            site.publish(daemon)
            yield daemon, site, f"http://{daemon.status()['gateway']['addresses'][0]}"
        finally:
            daemon.stop()


def getter(base: str) -> Any:
    return lambda path: httpx.get(base + path).raise_for_status().json()


def test_a_decision_is_in_the_log_when_it_is_acknowledged(node: tuple[Daemon, Site, str]) -> None:
    daemon, site, base = node
    with daemon.admin() as client:
        (number,) = client.block(site.id, reason="a test", note="private words")["entries"]
    page = daemon.get(site.id, "/")
    assert page.status == 410
    assert f"{PREFIX}/entries/{number}/{number + 1}" in page.body.decode()
    answer = httpx.get(f"{base}{PREFIX}/entries/{number}/{number + 1}")
    (shown,) = answer.json()["entries"]
    assert (shown["act"], shown["opened"]["reason"]["text"]) == ("rule-added", "a test")
    assert "private words" not in answer.text
    with daemon.admin() as client:
        client.unblock(site.id)
    assert [entry["act"] for entry in audit(getter(base)).entries[-2:]] == ["rule-removed", "notice-lifted"]


def test_the_log_is_checked_from_outside(
    node: tuple[Daemon, Site, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    daemon, _, base = node
    state = tmp_path / "state"
    with daemon.admin() as client:
        client.block(CID, reason="one")
    assert run(["log", "verify", base, "--state", str(state)]) == 0
    before = Seen.from_json(state.read_text())
    with daemon.admin() as client:
        client.block(CID, reason="two")
        client.unblock(CID)
    found = audit(getter(base), before)
    assert [entry["act"] for entry in found.entries] == ["rule-added", "rule-removed"]
    assert run(["log", "verify", base, "--state", str(state), "--all"]) == 0
    capsys.readouterr()
    nowhere = tmp_path / "missing" / "state"
    assert run(["log", "verify", base, "--state", str(nowhere)]) == 1
    assert f"the log is sound, but {nowhere} cannot be written: No such file" in capsys.readouterr().err


def _flip(path: str, answer: dict[str, Any]) -> None:
    if path == PREFIX:
        answer["head"] = answer["head"][:-2] + ("00" if answer["head"][-2:] != "00" else "01")


def _rewrite(path: str, answer: dict[str, Any]) -> None:
    for shown in answer.get("entries", []):
        if shown["act"] == "rule-removed":
            shown["entry"] = shown["entry"].replace(b"policy".hex(), b"legal ".hex())


def _reword(path: str, answer: dict[str, Any]) -> None:
    for shown in answer.get("entries", []):
        if "reason" in shown["opened"]:
            shown["opened"]["reason"]["text"] = "nothing to see"


def _relabel(path: str, answer: dict[str, Any]) -> None:
    for shown in answer.get("entries", []):
        shown["act"] = "list-added"


@pytest.mark.parametrize(
    ("change", "faults"),
    [
        (_flip, {"bad-signature"}),
        (_rewrite, {"rewritten", "bad-answer"}),
        (_reword, {"wrong-text"}),
        (_relabel, {"wrong-text"}),
    ],
)
def test_a_tampered_answer_is_found_out(node: tuple[Daemon, Site, str], change: Any, faults: set[str]) -> None:
    daemon, _, base = node
    with daemon.admin() as client:
        client.block(CID, reason="one")
        client.unblock(CID)
    honest = getter(base)

    def get(path: str) -> dict[str, Any]:
        answer: dict[str, Any] = honest(path)
        change(path, answer)
        return answer

    with pytest.raises(LogWrong) as caught:
        audit(get)
    assert caught.value.fault in faults


def test_a_log_that_is_written_anew_is_a_fork(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The operator deletes a decision: a new log under the same key, as long as the old one."""
    with daemon_folder() as folder:
        daemon = Daemon("a", folder)
        daemon.start()
        try:
            with daemon.admin() as client:
                client.block(CID, reason="embarrassing")
            base = f"http://{daemon.status()['gateway']['addresses'][0]}"
            state = tmp_path / "state"
            assert run(["log", "verify", base, "--state", str(state)]) == 0
            daemon.stop()
            for path in daemon.data_dir.glob("decisions.db*"):
                path.unlink()
            database = sqlite3.connect(daemon.data_dir / "store" / "store.db")
            database.execute("UPDATE rules SET reason = 'harmless'")
            database.commit()
            database.close()
            daemon.start()
            base = f"http://{daemon.status()['gateway']['addresses'][0]}"
            capsys.readouterr()
            assert run(["log", "verify", base, "--state", str(state), "--json"]) == 1
            assert json.loads(capsys.readouterr().out)["error"]["code"] == "log-forked"
            assert len(json.loads((tmp_path / "state.evidence").read_text())) == 2
            with daemon.admin() as client:
                client.unblock(CID)
            assert run(["log", "verify", base, "--state", str(state), "--json"]) == 1
            assert json.loads(capsys.readouterr().out)["error"]["code"] == "log-forked"
        finally:
            daemon.stop()


def test_a_withheld_entry_names_nothing(node: tuple[Daemon, Site, str]) -> None:
    daemon, site, base = node
    with daemon.admin() as client:
        (number,) = client.block(site.id, ground="legal", reason="order 12/3", secret=True)["entries"]
    page = daemon.get(site.id, "/")
    assert page.status == 451
    assert "public log" not in page.body.decode()
    text = httpx.get(f"{base}{PREFIX}/entries/{number}/{number + 1}").text
    assert site.id not in text
    assert "12/3" not in text
    with daemon.admin() as client:
        client.unblock(site.id)
    entries = audit(getter(base)).entries
    assert entries[-1]["withheld"]
    assert not entries[-1]["opened"]


def test_a_report_from_the_form_to_its_decision(node: tuple[Daemon, Site, str]) -> None:
    daemon, site, base = node
    assert "<form" in httpx.get(base + REPORTS).text
    fields = {"where": f"http://{site.id}.ipns.localhost/a", "category": "malware", "why": "<x>", "contact": "me@here"}
    taken = httpx.post(base + REPORTS, data=fields)
    assert taken.status_code == 201
    again = httpx.post(base + REPORTS, json={"where": site.id, "category": "spam", "why": "too"})
    status = base + again.json()["status"]
    with daemon.admin() as client:
        listed = client.reports()
        assert (listed["backlog"]["open"], listed["cases"][0]["count"]) == (1, 2)
        number = listed["cases"][0]["id"]
        assert client.report(number)["reports"][0]["contact"] == "me@here"
        client.decide(str(number), verdict="quarantine", reason="phishing")
        assert client.reports()["backlog"]["open"] == 0
    assert daemon.get(site.id, "/").status == 410
    told = httpx.get(status, headers={"accept": "application/json"}).json()
    assert (told["state"], told["reason"]) == ("quarantined", "phishing")
    entry = httpx.get(f"{base}{PREFIX}/entries/{told['entry']}/{told['entry'] + 1}")
    assert entry.json()["entries"][0]["act"] == "report-decided"
    assert "me@here" not in httpx.get(f"{base}{PREFIX}/entries/0/256").text
    assert httpx.get(status[:-3] + "xyz").status_code == 404
    with daemon.admin() as client:
        client.unblock(site.id)


def test_bodies_are_taken_in_one_place_and_only_small(node: tuple[Daemon, Site, str]) -> None:
    _, site, base = node
    assert httpx.post(base + "/", data={"a": "b"}).status_code == 405
    assert httpx.post(base + REPORTS, data={"why": "x" * 20_000}).status_code == 413
    assert httpx.post(base + REPORTS, data={"why": "x"}).status_code == 400
    assert httpx.post(base + REPORTS, content=iter([b"a=b"])).status_code == 413
    bad = httpx.post(base + REPORTS, data={"where": "nonsense <b>", "category": "spam", "why": "x"})
    assert bad.status_code == 400
    assert "<b>" not in bad.text
    host = httpx.URL(base)
    answer = httpx.post(base + REPORTS, data={"a": "b"}, headers={"host": f"{site.id}.ipns.localhost:{host.port}"})
    assert answer.status_code == 405
