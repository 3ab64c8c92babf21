"""publish, bundle and unpublish, as typed, against a daemon whose every part but disk and libp2p is real."""

from __future__ import annotations

from pathlib import Path

import pytest

from config.schema import HostingSettings
from protocol.release import SignedRelease
from protocol.site_id import SiteId
from tests.unit.cli.conftest import Fednode
from tests.unit.cli.small_daemon import SmallDaemon, small_daemon

NOWHERE = "/ip4/127.0.0.1/tcp/1/p2p/12D3KooWDVgXx4zcLZT6vhXA8m3LVYSum33U5XKfRo65pWHgqJTN"


def new_key(fednode: Fednode, name: str = "default") -> SiteId:
    made = fednode("key", "new", name, "--json")
    assert made.code == 0, made.err
    return SiteId.from_text(made.json["site"])


def head(daemon: SmallDaemon, site: SiteId) -> SignedRelease:
    record = daemon.store.site(site)
    assert record is not None
    return record.head


def test_a_folder_becomes_the_first_release(fednode: Fednode, daemon: SmallDaemon, site_dir: Path) -> None:
    site = new_key(fednode)
    ran = fednode("publish", site_dir, "--json")
    assert ran.code == 0, ran.err
    signed = head(daemon, site)
    result = ran.json
    assert (result["site"], result["seq"], result["root"]) == (str(site), 1, str(signed.release.root))
    assert result["release"] == str(signed.cid)
    assert (result["size_bytes"], result["block_count"]) == (signed.release.size_bytes, signed.release.block_count)
    assert (result["unchanged"], result["ended"]) == (False, False)
    (node,) = result["nodes"]
    assert node == {
        "node": "this machine",
        "state": "accepted",
        "code": "",
        "reason": "",
        "new_blocks": signed.release.block_count,
        "new_bytes": signed.release.size_bytes,
        "notice": None,
    }


def test_an_update_sends_only_what_changed(fednode: Fednode, daemon: SmallDaemon, site_dir: Path) -> None:
    site = new_key(fednode)
    fednode("publish", site_dir)
    first = head(daemon, site)
    (site_dir / "index.html").write_text("<h1>changed</h1>")
    ran = fednode("publish", site_dir, "--json")
    assert ran.json["seq"] == 2
    assert head(daemon, site).release.prev == first.cid
    assert ran.json["nodes"][0]["new_blocks"] == 2  # the page and the folder that it is in


def test_nothing_changed(fednode: Fednode, daemon: SmallDaemon, site_dir: Path) -> None:
    site = new_key(fednode)
    fednode("publish", site_dir)
    ran = fednode("publish", site_dir)
    assert (ran.code, ran.out.splitlines()[0]) == (0, "already published as release 1; nothing has changed")
    again = fednode("publish", site_dir, "--json").json
    assert (again["seq"], again["unchanged"], again["nodes"][0]["state"]) == (1, True, "already")
    assert fednode("publish", site_dir, "--force", "--json").json["seq"] == 2
    assert head(daemon, site).seq == 2


def test_another_node_gets_the_last_release_as_it_is(fednode: Fednode, home: Path, site_dir: Path) -> None:
    site = new_key(fednode)
    releases = []
    for name in ("one", "two"):
        with small_daemon(home / name) as daemon:
            assert fednode("publish", site_dir, "--data-dir", home / name).code == 0
            releases.append(head(daemon, site))
    assert releases[0] == releases[1]


def test_wishes_are_kept_from_release_to_release(fednode: Fednode, daemon: SmallDaemon, site_dir: Path) -> None:
    site = new_key(fednode)
    fednode("publish", site_dir, "--min-hosts", "5", "--max-hosts", "6")
    band = head(daemon, site).release.band
    assert (band.min_hosts, band.max_hosts) == (5, 6)
    (site_dir / "new.txt").write_text("new")
    fednode("publish", site_dir)
    assert head(daemon, site).release.band == band
    assert fednode("publish", site_dir, "--min-hosts", "2", "--json").json["seq"] == 3  # a wish alone is a change
    assert fednode("publish", site_dir, "--min-hosts", "7", "--max-hosts", "6").code == 1


def test_domains_are_kept_until_others_are_given(fednode: Fednode, daemon: SmallDaemon, site_dir: Path) -> None:
    site = new_key(fednode)
    names = ("--domain", "Blog.Example.org.", "--domain", "a.example")
    assert fednode("publish", site_dir, *names).code == 0
    assert head(daemon, site).release.domains == ("a.example", "blog.example.org")
    assert fednode("publish", site_dir, *names, "--json").json["unchanged"]
    (site_dir / "more.html").write_text("more")
    fednode("publish", site_dir)
    assert head(daemon, site).release.domains == ("a.example", "blog.example.org")
    assert fednode("publish", site_dir, "--no-domains").code == 0
    assert (head(daemon, site).seq, head(daemon, site).release.domains) == (3, ())


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (("--domain", "localhost"), 1, "not a domain name"),
        (("--domain", "grüße.example"), 1, "xn--"),
        (tuple(part for n in range(13) for part in ("--domain", f"a{n}.example")), 1, "12 domains"),
        (("--domain", "a.example", "--no-domains"), 2, "exclude"),
    ],
)
def test_domains_that_cannot_be(
    fednode: Fednode, daemon: SmallDaemon, site_dir: Path, options: tuple[str, ...], code: int, said: str
) -> None:
    new_key(fednode)
    ran = fednode("publish", site_dir, *options)
    assert (ran.code, said in ran.err) == (code, True), ran.err


def test_the_sequence_follows_the_node_when_this_machine_knows_nothing(
    fednode: Fednode, home: Path, daemon: SmallDaemon, site_dir: Path
) -> None:
    new_key(fednode)
    fednode("publish", site_dir, "--seq", "41")
    (home / "config/fednode/keys/default.json").unlink()
    (site_dir / "new.txt").write_text("new")
    assert fednode("publish", site_dir, "--json").json["seq"] == 42
    stale = fednode("publish", site_dir, "--force", "--seq", "42")
    assert stale.code == 1
    assert "--seq 42 is not above release 42" in stale.err


def test_the_sequence_follows_this_machine_when_the_node_knows_less(
    fednode: Fednode, home: Path, site_dir: Path
) -> None:
    new_key(fednode)
    for seq, name in ((1, "one"), (2, "two"), (3, "one")):
        (site_dir / "new.txt").write_text(str(seq))
        with small_daemon(home / name):
            assert fednode("publish", site_dir, "--data-dir", home / name, "--json").json["seq"] == seq


def test_a_refusal_is_told_and_has_its_exit_code(fednode: Fednode, daemon: SmallDaemon, site_dir: Path) -> None:
    site = new_key(fednode)
    fednode("block", site, "--reason", "not on my machine")
    ran = fednode("publish", site_dir, "--json")
    assert ran.code == 4
    (node,) = ran.json["nodes"]
    assert (node["state"], node["code"], node["reason"]) == ("refused", "quarantined", "not on my machine")
    shown = fednode("publish", site_dir)
    assert "refused: not on my machine (quarantined)" in shown.out
    assert "accepted by no node" in shown.out


def test_a_full_node_refuses(fednode: Fednode, home: Path, site_dir: Path) -> None:
    new_key(fednode)
    with small_daemon(home / "small", HostingSettings(quota_bytes=100)):
        ran = fednode("publish", site_dir, "--data-dir", home / "small", "--json")
    assert (ran.code, ran.json["nodes"][0]["code"]) == (4, "full")


def test_without_a_daemon(fednode: Fednode, home: Path, site_dir: Path) -> None:
    new_key(fednode)
    ran = fednode("publish", site_dir)
    assert ran.code == 3
    assert ran.err.splitlines() == [
        f"error: no fednode daemon at {home}/data/fednode/run/publish.sock",
        "hint: fednode start",
    ]


def test_without_a_key(fednode: Fednode, daemon: SmallDaemon, site_dir: Path) -> None:
    ran = fednode("publish", site_dir)
    assert ran.code == 6
    assert "hint: fednode key new" in ran.err


@pytest.mark.parametrize("node", ["nonsense", "/ip4/127.0.0.1/tcp/1", "http://127.0.0.1:80"])
def test_addresses_are_checked_first(fednode: Fednode, site_dir: Path, node: str) -> None:
    ran = fednode("publish", site_dir, "--to", node)
    assert ran.code == 2
    assert "--to" in ran.err


def test_a_bundle_is_published_without_its_key(
    fednode: Fednode, home: Path, daemon: SmallDaemon, site_dir: Path
) -> None:
    site = new_key(fednode)
    made = fednode("bundle", site_dir, "-o", "site.car", "--json")
    assert made.code == 0, made.err
    (home / "config/fednode/keys/default.pem").unlink()
    ran = fednode("publish", "site.car", "--json")
    assert ran.code == 0, ran.err
    assert str(head(daemon, site).cid) == made.json["release"]
    assert (ran.json["release"], ran.json["root"]) == (made.json["release"], made.json["root"])
    assert fednode("publish", "site.car", "--json").json["nodes"][0]["state"] == "already"


def test_a_bundle_names_domains_and_hosts(fednode: Fednode, daemon: SmallDaemon, site_dir: Path) -> None:
    site = new_key(fednode)
    said = ("--domain", "a.example", "--host", NOWHERE)
    assert fednode("bundle", site_dir, "-o", "site.car", *said).code == 0
    assert fednode("publish", "site.car").code == 0
    assert (head(daemon, site).release.domains, head(daemon, site).release.hosts) == (("a.example",), (NOWHERE,))
    assert fednode("bundle", site_dir, "-o", "next.car", "--no-hosts").code == 0
    assert fednode("publish", "next.car").code == 0
    assert (head(daemon, site).release.domains, head(daemon, site).release.hosts) == (("a.example",), ())
    assert fednode("bundle", site_dir, "-o", "not.car", "--host", NOWHERE, "--no-hosts").code == 2


def test_a_bundle_takes_no_wishes(fednode: Fednode, daemon: SmallDaemon, site_dir: Path) -> None:
    new_key(fednode)
    fednode("bundle", site_dir, "-o", "site.car")
    ran = fednode("publish", "site.car", "--seq", "3")
    assert ran.code == 2
    assert "signed already" in ran.err


def test_bundle_and_publish_agree_on_root_and_sequence(fednode: Fednode, daemon: SmallDaemon, site_dir: Path) -> None:
    new_key(fednode)
    bundled = fednode("bundle", site_dir, "-o", "site.car", "--json").json
    published = fednode("publish", site_dir, "--json").json
    assert (published["seq"], published["release"]) == (1, bundled["release"])


def test_a_bundle_is_not_overwritten(fednode: Fednode, home: Path, site_dir: Path) -> None:
    new_key(fednode)
    (home / "site.car").write_text("precious")
    assert fednode("bundle", site_dir, "-o", "site.car").code == 1
    assert (home / "site.car").read_text() == "precious"
    assert fednode("bundle", site_dir, "-o", "site.car", "--force").code == 0


def test_the_end_of_a_site(fednode: Fednode, home: Path, daemon: SmallDaemon, site_dir: Path) -> None:
    site = new_key(fednode)
    fednode("publish", site_dir)
    asked = fednode("unpublish")
    assert asked.code == 2
    assert "hint: give --yes" in asked.err
    assert not head(daemon, site).release.ended
    ran = fednode("unpublish", "--yes", "--json")
    assert (ran.code, ran.json["ended"], ran.json["root"]) == (0, True, None)
    assert head(daemon, site).release.ended
    again = fednode("publish", site_dir)
    assert again.code == 1
    assert "cannot be published again" in again.err
    assert fednode("unpublish", "--yes", "--json").json["nodes"][0]["state"] == "already"


def test_a_locked_key_is_opened_by_its_passphrase(
    fednode: Fednode, daemon: SmallDaemon, site_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDNODE_KEY_PASSPHRASE", "sésame")
    new_key(fednode)
    monkeypatch.delenv("FEDNODE_KEY_PASSPHRASE")
    assert fednode("publish", site_dir).code == 6
    monkeypatch.setenv("FEDNODE_KEY_PASSPHRASE", "wrong")
    assert "wrong passphrase" in fednode("publish", site_dir).err
    monkeypatch.setenv("FEDNODE_KEY_PASSPHRASE", "sésame")
    assert fednode("publish", site_dir).code == 0


def test_links_that_lead_out_are_warned_of(fednode: Fednode, daemon: SmallDaemon, site_dir: Path) -> None:
    new_key(fednode)
    (site_dir / "out\x1b[31m").symlink_to("/etc/passwd")
    ran = fednode("publish", site_dir)
    assert ran.code == 0
    assert "warning: links that leave the folder" in ran.err
    assert "\x1b" not in ran.err + ran.out


def test_what_cannot_be_published_is_named(fednode: Fednode, daemon: SmallDaemon, site_dir: Path) -> None:
    new_key(fednode)
    (site_dir / "bad\udcff").write_bytes(b"")
    ran = fednode("publish", site_dir)
    assert ran.code == 1
    assert "not UTF-8" in ran.err
