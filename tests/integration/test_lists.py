"""Lists on real daemons: quorum, cap, overruling, own allowing rules, and a list that comes as a site."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.demo.nodes import fednode
from tests.integration.daemons import DEADLINE_S, Daemon, Site, eventually, federation

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def daemons() -> Iterator[list[Daemon]]:
    with federation(2) as found:
        yield found


@pytest.fixture(scope="module")
def sites(daemons: list[Daemon], tmp_path_factory: pytest.TempPathFactory) -> list[Site]:
    """Four on the first node, beside each other."""
    made = []
    for number in range(4):
        site = Site(tmp_path_factory.mktemp(f"site{number}"))
        site.write("index.html", f"home of {number}")
        site.publish(daemons[0])
        made.append(site)
    return made


def statuses(daemon: Daemon, sites: list[Site]) -> list[int]:
    return [daemon.get(site.id, "/").status for site in sites]


def wait_statuses(daemon: Daemon, sites: list[Site], wanted: list[int], deadline_s: float = 1.0) -> None:
    def check() -> None:
        assert statuses(daemon, sites) == wanted

    eventually(check, deadline_s)


def deny(folder: Path, name: str, *lines: str) -> str:
    path = folder / f"{name}.deny"
    path.write_text("".join(f"{line}\n" for line in lines))
    return str(path)


def test_a_quorum_and_an_allowing_rule_and_one_command_that_undoes_a_list(
    daemons: list[Daemon], sites: list[Site], tmp_path: Path
) -> None:
    daemon, at = daemons[0], daemons[0].at
    first, second, *_ = sites
    one = deny(tmp_path, "one", f"/ipns/{first.id}", f"/ipns/{second.id}")
    two = deny(tmp_path, "two", f"/ipns/{first.id}")
    assert fednode("list", "add", one, "--name", "one", "--quorum", "2", "--yes", *at)["quorum"] == 2
    wait_statuses(daemon, sites, [200] * 4)
    fednode("list", "add", two, "--name", "two", "--quorum", "2", "--yes", *at)
    wait_statuses(daemon, sites, [410, 200, 200, 200])
    daemon.stop()
    daemon.start()
    wait_statuses(daemon, sites, [410, 200, 200, 200])

    done = fednode("allow", first.id, "--reason", "a mistake", "--until", "30d", "--note", "they wrote to us", *at)
    wait_statuses(daemon, sites, [200] * 4)
    (rule,) = fednode("policy", "rules", *at)["rules"]
    assert (rule["verdict"], rule["note"], rule["until_s"]) == ("allow", "they wrote to us", done["rule"]["until_s"])
    acts = fednode("policy", "explain", first.id, *at)["acts"]
    assert {(act["verdict"], act["rule"], act["reason"]) for act in acts} == {
        ("allow", f"/ipns/{first.id}", "a mistake")
    }
    fednode("unblock", first.id, *at)
    wait_statuses(daemon, sites, [410, 200, 200, 200])
    fednode("list", "remove", "two", *at)
    wait_statuses(daemon, sites, [200] * 4)
    fednode("list", "remove", "one", *at)


def test_what_hits_too_much_at_once_waits(daemons: list[Daemon], sites: list[Site], tmp_path: Path) -> None:
    daemon = daemons[0]
    lines = [f"/ipns/{site.id}" for site in sites]
    with daemon.admin() as client:
        path = deny(tmp_path, "cap", lines[0])
        client.list_add(path, name="cap", cap_sites=2)
        wait_statuses(daemon, sites, [410, 200, 200, 200])
        deny(tmp_path, "cap", *lines)
        (status,) = eventually(lambda: [each for each in client.lists() if _waits(each["pending"])])
        assert "3 of" in status["pending"]
        assert statuses(daemon, sites) == [410, 200, 200, 200]
        assert client.list_preview("cap")["sites_hit"] == 4
        client.list_change("cap", "accept")
        wait_statuses(daemon, sites, [410] * 4)
        client.list_change("cap", "overrule", lines[3])
        wait_statuses(daemon, sites, [410, 410, 410, 200])
        client.list_remove("cap")
        wait_statuses(daemon, sites, [200] * 4)


def _waits(pending: str | None) -> bool:
    assert pending is not None
    return True


def test_a_list_that_is_a_site(daemons: list[Daemon], sites: list[Site], tmp_path: Path) -> None:
    """Signed by its key and replicated like any: the publisher of the list changes it on another node."""
    publishing, subscribed = daemons[1], daemons[0]
    listing = Site(tmp_path)
    listing.write("list.deny", f"/ipns/{sites[0].id} reason:phishing\n")
    with subscribed.admin() as client:
        status = client.list_add(listing.id, name="theirs")
        assert "not here yet" in status["error"]
        listing.publish(publishing)
        wait_statuses(subscribed, sites, [410, 200, 200, 200], DEADLINE_S)
        assert "phishing" in subscribed.get(sites[0].id, "/").body.decode()
        listing.write("list.deny", f"/ipns/{sites[1].id}\n")
        listing.publish(publishing)
        wait_statuses(subscribed, sites, [200, 410, 200, 200], DEADLINE_S)
        client.list_remove("theirs")
        wait_statuses(subscribed, sites, [200] * 4)
