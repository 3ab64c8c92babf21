"""Whom a node hosts: each hosting setting against each way by which others bring a site, and invitations as their
operator and their publisher use them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from random import Random
from typing import Any

import pytest

from cli.main import run
from protocol import messages as msg
from protocol.member_messages import Wanted
from protocol.messages import PUBLISH_PROTOCOL, SYNC_PROTOCOL
from tests.integration.daemons import Daemon, Site, federation
from tests.integration.peers import peer_of, say
from tests.integration.test_gate_table import Case, hand_in

pytestmark = pytest.mark.integration

TYPES = "text/*,image/*,application/json"


@pytest.fixture(scope="module")
def host() -> Iterator[Daemon]:
    settings = {"hosting_mode": "invite", "hosting_max_site_bytes": "3MB", "hosting_media_types": TYPES}
    with federation(1, **settings) as (daemon,):
        yield daemon


def site_of(folder: Path, *, size: int = 100, name: str = "a.txt") -> Site:
    made = Site(folder)
    made.write("index.html", f"home of {folder.name}")
    made.write(name, Random(folder.name).randbytes(size))
    return made


def fednode(*arguments: str) -> Any:
    """What the command prints as JSON; in this process, as each of many would take its time to start."""
    with redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()):
        run([*arguments, "--json"])
    return json.loads(out.getvalue())


def invite(host: Daemon, *options: str) -> tuple[int, str]:
    made = fednode("invite", "new", *options, *host.at)
    return made["number"], made["invitation"]


def publish(site: Site, host: Daemon, *options: str) -> str:
    """The code of the refusal; "" when the node took it."""
    done = fednode("publish", str(site.dir), "--key", str(site.key), "--to", host.address, *options)
    (node,) = done["nodes"]
    return str(node["code"])


def explained(site: Site, host: Daemon) -> dict[str, str]:
    """The code of each act."""
    return {row["act"]: row["code"] for row in fednode("policy", "explain", site.id, *host.at)["acts"]}


async def test_every_way_in_asks_whether_the_site_was_invited(host: Daemon) -> None:
    case = Case("not invited")
    async with peer_of(host) as (network, peer):
        for protocol, message in (
            (PUBLISH_PROTOCOL, msg.Offer(case.signed)),
            (SYNC_PROTOCOL, msg.Offer(case.signed)),
            (SYNC_PROTOCOL, Wanted(case.signed)),
        ):
            answer = await say(network, peer, protocol, message)
            assert isinstance(answer, msg.Refuse)
            assert answer.code == "not-invited"
        for secret in (bytes(16), bytes(range(16))):
            answer = await say(network, peer, PUBLISH_PROTOCOL, msg.Invited(secret), msg.Offer(case.signed))
            assert isinstance(answer, msg.Refuse)
            assert answer.code == "bad-invitation"
        answer = await say(network, peer, PUBLISH_PROTOCOL, msg.Invited(bytes(16)), msg.Ask(case.site))
        assert isinstance(answer, msg.Refuse)
    assert isinstance(await hand_in(host, case), msg.Have), "the operator's own"


def test_an_invitation_is_used_ended_and_taken_back(host: Daemon, tmp_path: Path) -> None:
    site, other = site_of(tmp_path / "site"), site_of(tmp_path / "other")
    assert publish(site, host) == "not-invited"
    assert explained(site, host)["store"] == "not-invited"
    number, text = invite(host, "--note", "Ann")
    assert publish(site, host, "--invite", text) == ""
    site.check_on(host)
    assert set(explained(site, host).values()) == {""}
    assert publish(other, host, "--invite", text) == "bad-invitation", "used up"
    site.write("index.html", "an update needs no invitation")
    assert publish(site, host) == ""
    host.stop()
    host.start()
    site.write("index.html", "nor after a restart")
    assert publish(site, host) == ""
    fednode("invite", "revoke", str(number), *host.at)
    site.write("index.html", "but once it was taken back")
    assert publish(site, host) == "not-invited"
    assert publish(site, host, "--invite", text) == "bad-invitation"
    assert host.get(site.id, "/").status == 200, "what is here stays"


def test_what_is_refused_anyway_uses_no_invitation_up(host: Daemon, tmp_path: Path) -> None:
    _, text = invite(host, "--quota", "2MB", "--sites", "2")
    film = site_of(tmp_path / "film", size=500_000, name="film.mp4")
    assert publish(film, host, "--invite", text) == "media-type"
    assert publish(site_of(tmp_path / "large", size=3_500_000), host, "--invite", text) == "too-large"
    first, second = (site_of(tmp_path / name, size=1_500_000) for name in ("first", "second"))
    assert publish(first, host, "--invite", text) == ""
    assert publish(second, host, "--invite", text) == "publisher-full"
    blocked = site_of(tmp_path / "blocked")
    fednode("block", blocked.id, *host.at)
    assert publish(blocked, host, "--invite", text) == "quarantined"
    assert publish(site_of(tmp_path / "small"), host, "--invite", text) == ""
    (row,) = (row for row in fednode("invite", "list", *host.at)["invitations"] if row["quota_bytes"] == 2_000_000)
    assert (len(row["sites"]), row["used_bytes"] > 1_500_000) == (2, True)
    film.publish(host)  # the operator's own
    assert explained(film, host)["store"] == "not-invited"


def test_an_invitation_is_shown_to_its_own_node_alone(host: Daemon, tmp_path: Path) -> None:
    _, text = invite(host)
    site = site_of(tmp_path / "site")
    elsewhere = "/ip4/127.0.0.1/tcp/1/p2p/12D3KooWK99VoVxNE7XzyBwXEzW7xhK7Gpv85r9F3V3fyKSUKPH5"
    for where in (("--to", elsewhere), host.at):
        refused = fednode("publish", str(site.dir), "--key", str(site.key), "--invite", text, *where)
        assert "invitation to" in refused["error"]["message"]
    assert len(fednode("invite", "list", *host.at)["invitations"][0]["sites"]) == 0
