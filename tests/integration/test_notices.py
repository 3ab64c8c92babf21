"""A refusal as its publisher lives through it: notice, period, export, appeal, answer; on real daemons."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cli.demo.nodes import DemoFailed, fednode
from cli.errors import CommandError
from cli.publishing.bundles import read_bundle
from cli.publishing.notices import RemoteOffice
from config.keyfile import create_key
from node.decisions.audit import audit
from node.notices.shape import PREFIX
from protocol import messages as msg
from protocol.cid import Cid
from protocol.messages import NOTICES_PROTOCOL, PUBLISH_PROTOCOL
from protocol.notice import SignedNotice, prove_export
from protocol.site_id import SiteId
from tests.integration.daemons import Daemon, Site, daemon_folder, eventually, federation, sample_site
from tests.integration.peers import peer_of, say

pytestmark = pytest.mark.integration
NOTICE_S = 16  # a few commands on a busy machine fit in
LATE_S = 10


def base_of(daemon: Daemon) -> str:
    return f"http://{daemon.status()['gateway']['addresses'][0]}"


def entries_of(daemon: Daemon) -> list[str]:
    """The acts of a log whose proofs and signatures hold."""
    found = audit(lambda path: httpx.get(base_of(daemon) + path).raise_for_status().json())
    return [entry["act"] for entry in found.entries]


def again(daemon: Daemon) -> None:
    daemon.kill()
    daemon.start()


def test_from_the_notice_to_the_answer(tmp_path: Path) -> None:
    with federation(2, policy_notice_s=str(NOTICE_S), policy_export_s="600", node_contact="op@example.org") as daemons:
        refusing, other = daemons
        site = sample_site(tmp_path)
        site.publish(refusing)
        site.wait_on(other)
        done = fednode("block", site.id, "--reason", "too loud", *refusing.at)
        assert done["entries"] == []
        assert done["effective_s"] > time.time()
        assert refusing.get(site.id, "/").status == 200
        assert refusing.site(site.id)["notice"]["effective_s"] == done["effective_s"]
        # The publisher hears of it when publishing, and when asking.
        site.write("more.html", "more")
        told = site.publish_to(refusing.address)["nodes"][0]
        assert told["state"] == "accepted"
        assert (told["notice"]["kind"], told["notice"]["reason"]) == ("refusal", "too loud")
        (notice,) = fednode("notices", "--to", refusing.address, site.id)["notices"]
        assert (notice["effective_s"], notice["contact"]) == (done["effective_s"], "op@example.org")
        assert notice["keep_until_s"] == done["effective_s"] + 600
        assert notice["node"] == str(SiteId.from_text(refusing.status()["peer_id"]))
        site.wait_on(other)

        _wait_refused(refusing, site, done["effective_s"])
        assert other.get(site.id, "/").status == 200
        page = refusing.get(site.id, "/").body.decode()
        assert f"{PREFIX}/{site.id}" in page
        shown = httpx.get(f"{base_of(refusing)}{PREFIX}/{site.id}").json()["notices"]
        assert SignedNotice.decode(bytes.fromhex(shown[0]["notice"])).notice.reason == "too loud"
        assert (
            "fednode appeal"
            in httpx.get(f"{base_of(refusing)}{PREFIX}/{site.id}", headers={"accept": "text/html"}).text
        )

        again(refusing)
        assert refusing.get(site.id, "/").status == 410
        _export(refusing, site, tmp_path)
        stranger = tmp_path / "other.pem"
        create_key(stranger)
        with pytest.raises(DemoFailed, match="name the right one"):
            fednode("export", "--from", refusing.address, "--key", str(stranger), site.id, "-o", str(tmp_path / "n"))

        text = "It was one word.\nIt is gone now."
        fednode("appeal", site.id, text, "--to", refusing.address, "--key", str(site.key), "--contact", "me@here")
        again(refusing)
        with refusing.admin() as client:
            (case,) = client.reports()["cases"]
            assert (case["kind"], case["subject"]) == ("appeal", f"/ipns/{site.id}")
            report = client.report(case["id"])["reports"][0]
            assert (report["why"], report["contact"]) == (text, "me@here")
        fednode("reports", "decide", "lift", str(case["id"]), "--reason", "so it is", *refusing.at)
        again(refusing)
        site.wait_on(refusing)
        lifted, *_ = fednode("notices", "--to", refusing.address, site.id)["notices"]
        assert (lifted["kind"], lifted["reason"], lifted["refers"]) == ("lifted", "so it is", notice["number"])
        assert site.publish_to(refusing.address)["nodes"][0]["notice"] is None
        acts = [act for act in entries_of(refusing) if act.startswith(("notice", "appeal", "rule"))]
        assert acts == [
            "notice-given", "rule-added", "appeal-received", "appeal-decided", "rule-removed", "notice-lifted"
        ]  # fmt: skip


def _wait_refused(daemon: Daemon, site: Site, effective_s: int) -> None:
    """Serves until then, and refuses soon after: within a second where the machine has nothing else to do."""
    asked_s = time.time()
    while daemon.get(site.id, "/").status == 200:
        assert asked_s < effective_s + LATE_S, "it took effect late"
        time.sleep(0.05)
        asked_s = time.time()
    assert daemon.get(site.id, "/").status == 410
    assert time.time() >= effective_s


def _export(daemon: Daemon, site: Site, tmp_path: Path) -> None:
    car = tmp_path / "site.car"
    done = fednode("export", "--from", daemon.address, "--key", str(site.key), site.id, "-o", str(car))
    assert done["file_bytes"] == car.stat().st_size
    with read_bundle(car) as bundle:
        assert str(bundle.signed.site) == site.id
        assert bundle.block_count == done["block_count"]


@pytest.fixture(scope="module")
def node() -> Iterator[tuple[Daemon, Site]]:
    with daemon_folder() as folder:
        daemon = Daemon("a", folder, policy_notice_s="3600", policy_export_s="3600")
        daemon.start()
        try:
            site = sample_site(folder)
            site.publish(daemon)
            yield daemon, site
        finally:
            daemon.stop()


@pytest.fixture
def refused(node: tuple[Daemon, Site]) -> Iterator[tuple[Daemon, Site]]:
    daemon, site = node
    with daemon.admin() as client:
        client.block(site.id, reason="now", now=True)
        yield daemon, site
        client.unblock(site.id)


def test_now_is_now_and_the_law_does_not_wait(node: tuple[Daemon, Site]) -> None:
    daemon, site = node
    for options, status in ((["--now"], 410), (["--legal"], 451)):
        fednode("block", site.id, *options, *daemon.at)
        assert daemon.get(site.id, "/").status == status
        fednode("unblock", site.id, *daemon.at)
        assert daemon.get(site.id, "/").status == 200
    later = fednode("block", site.id, *daemon.at)
    again(daemon)
    assert daemon.get(site.id, "/").status == 200
    assert fednode("block", site.id, *daemon.at)["effective_s"] == later["effective_s"], "asking twice is no delay"
    fednode("block", site.id, "--now", *daemon.at)
    assert daemon.get(site.id, "/").status == 410
    fednode("unblock", site.id, *daemon.at)


def test_what_is_urgent_does_not_wait(node: tuple[Daemon, Site]) -> None:
    daemon, site = node
    for category, status in (("malware", 410), ("privacy", 200)):
        where = {"where": site.id, "category": category, "why": "x"}
        httpx.post(f"{base_of(daemon)}/.well-known/fednode/reports", json=where).raise_for_status()
        with daemon.admin() as client:
            (case,) = client.reports()["cases"]
            client.decide(str(case["id"]), verdict="quarantine", reason=category)
            assert daemon.get(site.id, "/").status == status
            client.unblock(site.id)


def test_a_secret_stays_one(node: tuple[Daemon, Site]) -> None:
    daemon, site = node
    with daemon.admin() as client:
        client.block(site.id, ground="legal", reason="order 12/3", secret=True, note="private words")
        text = httpx.get(f"{base_of(daemon)}{PREFIX}/{site.id}").text
        newest = json.loads(text)["notices"][0]
        assert (newest["ground"], newest["reason"], newest["rule"], newest["entry"]) == ("legal", "", "", None)
        assert "12/3" not in text
        assert "private words" not in text
        client.unblock(site.id)


async def test_only_the_key_opens_an_export(refused: tuple[Daemon, Site]) -> None:
    daemon, site = refused
    wanted = SiteId.from_text(site.id)
    async with peer_of(daemon) as (network, peer):
        stranger = Ed25519PrivateKey.generate()
        for proof in (bytes(64), prove_export(stranger, SiteId.from_text(peer), bytes(32))):
            answer = await _answer_to_proof(network, peer, wanted, proof)
            assert isinstance(answer, msg.Refuse)
        root = Cid.from_text(daemon.site(site.id)["head"]["root"])
        assert not isinstance(await say(network, peer, NOTICES_PROTOCOL, msg.Want((root,))), msg.Block)


async def _answer_to_proof(network: Any, peer: str, site: SiteId, proof: bytes) -> msg.Message | None:
    from node.net.channel import FrameChannel

    stream = await network.open(peer, NOTICES_PROTOCOL, deadline_s=10)
    async with FrameChannel(stream, idle_s=10, write_s=10) as channel:
        await channel.send(msg.AskExport(site))
        assert isinstance(await channel.receive(), msg.Challenge)
        await channel.send(msg.Proof(proof))
        return await channel.receive()


async def test_a_refused_site_is_given_to_nobody_else(refused: tuple[Daemon, Site]) -> None:
    daemon, site = refused
    async with peer_of(daemon) as (network, peer):
        answer = await say(network, peer, "/fednode/sync/1", msg.Ask(SiteId.from_text(site.id)))
        assert isinstance(answer, msg.Refuse)
        garbage = await say(network, peer, NOTICES_PROTOCOL, msg.HandAppeal(b"\x93\x01\xc4\x00\xc4\x00"))
        assert isinstance(garbage, msg.Refuse)
        misplaced = await say(network, peer, PUBLISH_PROTOCOL, msg.AskNotices(SiteId.from_text(site.id)))
        assert isinstance(misplaced, msg.Refuse)


async def test_appeals_are_bounded_and_answered(refused: tuple[Daemon, Site]) -> None:
    daemon, site = refused
    key = serialization.load_pem_private_key(site.key.read_bytes(), None)
    assert isinstance(key, Ed25519PrivateKey)
    async with peer_of(daemon) as (network, peer):
        office = RemoteOffice(network, peer)
        newest = (await office.notices(SiteId.of(key)))[0].notice
        with pytest.raises(CommandError, match="not the one that holds"):
            await office.appeal(key, newest.number + 1, "no", "", 1)
        for number in range(5):
            for _ in range(2):  # the same one twice is one
                await office.appeal(key, newest.number, f"reason {number}", "", 1)
        with pytest.raises(CommandError, match="appealed 5 times"):
            await office.appeal(key, newest.number, "reason 6", "", 1)
        with daemon.admin() as client:
            (case,) = client.reports()["cases"]
            assert case["count"] == 5
            client.decide(str(case["id"]), verdict="uphold", reason="it stays")
        answer = (await office.notices(SiteId.of(key)))[0].notice
    assert (answer.kind, answer.reason, answer.verdict) == ("upheld", "it stays", "quarantine")
    assert daemon.get(site.id, "/").status == 410


def test_what_was_dropped_cannot_be_fetched(tmp_path: Path) -> None:
    with daemon_folder() as folder:
        daemon = Daemon("a", folder, policy_notice_s="3600", policy_export_s="2")
        daemon.start()
        try:
            one, two = sample_site(tmp_path / "1"), sample_site(tmp_path / "2")
            for site in (one, two):
                site.publish(daemon)
            fednode("block", one.id, "--drop", "--now", "--yes", *daemon.at)
            assert daemon.site(one.id)["held"] is None
            (notice,) = fednode("notices", "--to", daemon.address, one.id)["notices"]
            assert notice["keep_until_s"] is None
            with pytest.raises(DemoFailed, match="keeps nothing"):
                _export(daemon, one, tmp_path)
            done = fednode("block", two.id, "--legal", "--drop", "--yes", *daemon.at)
            assert done["drop_s"] == done["effective_s"] + 2
            again(daemon)
            eventually(lambda: _assert(daemon.site(two.id)["held"] is None))
            assert time.time() >= done["drop_s"]
            assert entries_of(daemon).count("site-dropped") == 2
        finally:
            daemon.stop()


def _assert(holds: bool) -> None:
    assert holds


def test_a_list_can_give_notice_too(tmp_path: Path) -> None:
    with daemon_folder() as folder:
        daemon = Daemon("a", folder, policy_list_notice_s="10", policy_export_s="60", gateway_workers="2")
        daemon.start()
        try:
            site = sample_site(tmp_path)
            site.publish(daemon)
            (tmp_path / "bad.deny").write_text(f"/ipns/{site.id} reason:spam\n")
            fednode("list", "add", str(tmp_path / "bad.deny"), "--yes", *daemon.at)
            assert daemon.get(site.id, "/").status == 200
            (notice,) = eventually(lambda: _some(fednode("notices", site.id, *daemon.at)["notices"]))
            assert (notice["reason"], notice["list"]) == ("spam", str(tmp_path / "bad.deny"))
            again(daemon)
            assert daemon.get(site.id, "/").status == 200 or time.time() >= notice["effective_s"]
            _wait_refused(daemon, site, notice["effective_s"])
            fednode("appeal", site.id, "no", "--to", daemon.address, "--key", str(site.key))
            fednode("reports", "decide", "lift", "1", "--reason", "wrong line", *daemon.at)
            assert daemon.get(site.id, "/").status == 200
            newest = fednode("notices", site.id, *daemon.at)["notices"][0]
            assert (newest["kind"], newest["reason"]) == ("lifted", "wrong line")
        finally:
            daemon.stop()


def _some(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    assert found
    return found
