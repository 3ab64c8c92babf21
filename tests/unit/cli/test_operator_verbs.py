"""The operator's verbs, as typed, against a daemon of real parts."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from cli.daemon import SITE
from cli.main import VERBS, cli
from config.keyfile import load_key
from protocol.cid import Cid
from protocol.release import SignedRelease, sign_release
from protocol.site_id import SiteId
from tests.unit.cli.conftest import Fednode
from tests.unit.cli.small_daemon import SmallDaemon

MONITORING = Path(__file__).parents[3] / "docs/operators/monitoring.md"
NOBODY = "/ip4/127.0.0.1/tcp/1/p2p/12D3KooWDVgXx4zcLZT6vhXA8m3LVYSum33U5XKfRo65pWHgqJTN"


@pytest.fixture
def sites(fednode: Fednode, daemon: SmallDaemon, site_dir: Path) -> list[str]:
    """Two published sites."""
    found = []
    for name in ("one", "two"):
        found.append(fednode("key", "new", name, "--json").json["site"])
        assert fednode("publish", site_dir, "--key", name).code == 0
    return found


def common_prefix(sites: list[str]) -> str:
    first, second = sites
    return first[: next(index for index, (a, b) in enumerate(zip(first, second, strict=True)) if a != b)]


def test_each_state_of_sites_that_metrics_count_is_documented(fednode: Fednode, daemon: SmallDaemon) -> None:
    states = re.findall(r'^fednode_sites\{state="(\w+)"\}', fednode("metrics").out, re.MULTILINE)
    (row,) = re.findall(r"^\| `fednode_sites` \| [^|]*", MONITORING.read_text("utf-8"), re.MULTILINE)
    assert re.findall(r"`(\w+)`", row) == ["fednode_sites", "state", *states]


def test_status(fednode: Fednode, sites: list[str]) -> None:
    status = fednode("status", "--json").json
    assert status["sites"]["hosted"] == 2
    assert status["store"]["used_bytes"] > 0
    shown = fednode("status")
    assert shown.code == 0
    assert "2 hosted" in shown.out
    assert status["peer_id"] in shown.out


def test_sites_and_show(fednode: Fednode, sites: list[str]) -> None:
    rows = fednode("sites", "--json").json["sites"]
    assert sorted(row["site"] for row in rows) == sorted(sites)
    table = fednode("sites").out.splitlines()
    assert table[0].split() == ["STATE", "RELEASE", "SIZE", "HOSTS", "PROVED", "UPDATED", "SITE"]
    assert {line.split()[-1] for line in table[1:]} == set(sites)
    record = fednode("show", sites[0], "--json").json
    assert (record["state"], record["head"]["seq"]) == ("hosted", 1)
    assert record["head"]["root"] in fednode("show", sites[0]).out


def test_a_release_that_does_not_fit_is_said_everywhere(
    fednode: Fednode, daemon: SmallDaemon, sites: list[str], home: Path
) -> None:
    doctor = {check["name"]: check for check in fednode("doctor", "--json").json["checks"]}
    assert doctor["room"]["ok"]
    assert "no room" not in fednode("status").out
    core = daemon.replicator.context.core
    state = core.state_of(SiteId.from_text(sites[0]))
    assert state is not None
    state.head = state.no_room_for = next_release(state.held, home / "config/fednode/keys/one.pem")
    daemon.store.set_head(state.head)
    check = {check["name"]: check for check in fednode("doctor", "--json").json["checks"]}["room"]
    assert not check["ok"]
    assert f"{sites[0]}: release 2, " in check["message"]
    assert "hosting.quota_bytes" in check["hint"]
    assert fednode("doctor").code == 1
    assert fednode("status", "--json").json["sites"]["no_room"] == 1
    assert "for the newest release of 1 site (fednode doctor)" in fednode("status").out
    row = next(line for line in fednode("sites").out.splitlines() if line.endswith(sites[0]))
    assert row.startswith("hosted  1 of 2 ")
    shown = fednode("resilience", sites[0])
    assert shown.code == 0
    assert "no, has release 1, not 2" in shown.out
    assert "only copy" not in shown.out
    assert "to do: release 2 (" in shown.out
    assert fednode("show", sites[0], "--json").json["hosts"] is None
    assert "only copy" in fednode("resilience", sites[1]).out


def next_release(signed: SignedRelease | None, key: Path) -> SignedRelease:
    """That its publisher signed, and of which nothing came yet."""
    assert signed is not None
    release = replace(
        signed.release, seq=signed.seq + 1, prev=signed.cid, size_bytes=signed.release.block_count * 2**20
    )
    return sign_release(release, load_key(key))


def test_sites_are_found_sorted_and_paged(fednode: Fednode, sites: list[str]) -> None:
    assert fednode("block", sites[0]).code == 0
    refused = fednode("sites", "--state", "quarantined", "--json").json
    assert ([row["site"] for row in refused["sites"]], refused["total"]) == ([sites[0]], 1)
    found = fednode("sites", "--find", sites[1][5:40].upper(), "--sort", "size", "--json").json
    assert [row["site"] for row in found["sites"]] == [sites[1]]
    assert found["held_bytes"] == found["sites"][0]["held_bytes"] > 0
    page = fednode("sites", "--offset", "1", "--limit", "1", "--sort", "site", "--json").json
    assert ([row["site"] for row in page["sites"]], page["total"]) == ([max(sites)], 2)
    assert "no such sites" in fednode("sites", "--find", "nothing of the kind").out


def test_policy_rules_shows_own_rules_and_those_of_a_list(fednode: Fednode, sites: list[str], tmp_path: Path) -> None:
    assert "0 rules" in fednode("policy", "rules").out
    fednode("block", sites[0], "--reason", "spam", "--legal")
    (rule,) = fednode("policy", "rules", "--json").json["rules"]
    assert (rule["target"], rule["ground"], rule["reason"]) == (f"/ipns/{sites[0]}", "legal", "spam")
    assert "quarantine, legal  spam" in fednode("policy", "rules").out
    listed = tmp_path / "bad.deny"
    listed.write_text(f"/ipns/{sites[1]}\n/ipns/bad.example\n")
    assert fednode("list", "add", listed, "--name", "bad", "--yes").code == 0
    page = fednode("policy", "rules", "--list", "bad", "--limit", "1", "--json").json
    assert ([rule["target"] for rule in page["rules"]], page["total"]) == ([f"/ipns/{sites[1]}"], 2)
    unknown = fednode("policy", "rules", "--list", "worse")
    assert (unknown.code, "worse is no list of this node" in unknown.err, "hint: " in unknown.err) == (1, True, True)


def test_the_site_of_a_list_is_followed_if_it_is_one(fednode: Fednode, sites: list[str], site_dir: Path) -> None:
    ran = fednode("list", "add", sites[0], "--yes")
    assert (ran.code, "has no readable list" in ran.err) == (1, True)
    assert fednode("status", "--json").json["hosting"]["follow"] == []
    (site_dir / "list.deny").write_text("/ipns/bad.example\n")
    assert fednode("publish", site_dir, "--key", "one").code == 0
    assert fednode("list", "add", sites[0], "--yes", "--json").json["rule_count"] == 1
    assert fednode("status", "--json").json["hosting"]["follow"] == [sites[0]]


def test_a_line_that_a_list_has_not_is_said(fednode: Fednode, sites: list[str], tmp_path: Path) -> None:
    listed = tmp_path / "bad.deny"
    line = f"/ipns/{sites[0]} reason:spam"
    listed.write_text(f"{line}\n/ipns/other.example\n")
    assert fednode("list", "add", listed, "--name", "bad", "--yes").code == 0
    for wrong in (line.removesuffix("m"), f"/ipns/{sites[1]}", "nonsense", "//" + "ab" * 32):
        for verb in ("overrule", "accept", "restore"):
            ran = fednode("list", verb, "bad", wrong)
            assert (ran.code, wrong in ran.err, "hint: " in ran.err) == (1, True, True)
    assert fednode("show", sites[0], "--json").json["blocked"] is not None
    assert fednode("list", "overrule", "bad", f" {line} ", "--json").json["overruled"] == [line]
    assert fednode("show", sites[0], "--json").json["blocked"] is None
    assert fednode("list", "restore", "bad", line).code == 0
    assert fednode("show", sites[0], "--json").json["blocked"] is not None
    assert fednode("list", "mode", "bad", "review").code == 0
    assert f"accepted: {line}" in fednode("list", "accept", "bad", line).out
    assert fednode("show", sites[0], "--json").json["blocked"] is not None
    assert fednode("list", "overrule", "worse", line).code == 1
    for verb in ("accept", "reject"):
        assert "no version of bad waits" in fednode("list", verb, "bad").err
    assert fednode("list", "add", listed, "--cap", "-1").code == 2


def test_own_refusals_of_domains_are_exported_for_others_without_the_secret_ones(
    fednode: Fednode, sites: list[str], tmp_path: Path
) -> None:
    for more in (
        ["/ipns/bad.example", "--reason", "spam, and worse"],
        ["/ipns/secret.example", "--secret"],
        ["/ipns/shop.example/stolen"],
        [sites[0]],
    ):
        assert fednode("block", *more, "--now").code == 0
    assert fednode("allow", "/ipns/good.example").code == 0
    shown = fednode("list", "export").out
    assert shown.splitlines()[1:] == ['bad.example,suspend,False,False,"spam, and worse",False']
    assert fednode("list", "export", "--json").json == {
        "domains": [{"domain": "bad.example", "comment": "spam, and worse"}]
    }
    path = tmp_path / "blocks.csv"
    path.write_text(shown)
    assert fednode("list", "add", path, "--json").json["rule_count"] == 1


def test_a_beginning_of_a_site_id_will_do_if_it_fits_one(fednode: Fednode, sites: list[str]) -> None:
    common = common_prefix(sites)
    unique = sites[0][: len(common) + 1]
    assert fednode("show", unique, "--json").json["site"] == sites[0]
    several = fednode("show", common)
    assert several.code == 1
    assert "2 sites begin with" in several.err
    assert fednode("show", "k51zzz").code == 1
    assert fednode("show", sites[0][:2]).code == 1


@pytest.mark.parametrize("verb", [["notices"], ["appeal", "why"], ["export", "-o", "x.car"]])
def test_for_another_node_a_site_id_is_whole(fednode: Fednode, home: Path, verb: list[str]) -> None:
    name, *more = verb
    ran = fednode(name, "k51qzi5", *more, "--from" if name == "export" else "--to", NOBODY)
    assert ran.code == 2
    assert "'k51qzi5' is no site id" in ran.err
    assert "hint: give the whole id" in ran.err


@pytest.mark.parametrize("verb", [["block"], ["allow"], ["unblock"], ["policy", "explain"]])
def test_a_target_that_makes_no_sense_is_wrong_usage(fednode: Fednode, daemon: SmallDaemon, verb: list[str]) -> None:
    ran = fednode(*verb, "/p2p/nobody", "--json")
    assert ran.code == 2
    assert ran.json["error"]["code"] == "bad-target"
    assert "hint: write a site id" in ran.err


def test_block_and_unblock(fednode: Fednode, daemon: SmallDaemon, sites: list[str]) -> None:
    unique = sites[0][: len(common_prefix(sites)) + 1]
    done = fednode("block", unique, "--reason", "spam", "--json").json
    assert done["rule"]["target"] == f"/ipns/{sites[0]}"
    record = fednode("show", sites[0], "--json").json
    assert (record["state"], record["blocked"]["reason"], record["blocked"]["ground"]) == (
        "quarantined",
        "spam",
        "policy",
    )
    shown = fednode("show", sites[0]).out
    assert "quarantined" in shown
    assert "spam" in shown
    assert fednode("unblock", unique).code == 0
    assert fednode("show", sites[0], "--json").json["state"] == "hosted"
    again = fednode("unblock", unique)
    assert again.code == 1
    assert "there is no rule" in again.err


def test_legal_and_drop(fednode: Fednode, sites: list[str]) -> None:
    asked = fednode("block", sites[0], "--drop")
    assert asked.code == 2
    assert fednode("show", sites[0], "--json").json["state"] == "hosted"
    done = fednode("block", sites[0], "--legal", "--drop", "--yes", "--reason", "court order 7")
    assert done.code == 0
    assert "deleted" in done.out
    record = fednode("show", sites[0], "--json").json
    assert (record["state"], record["blocked"]["ground"], record["held"]) == ("refused", "legal", None)


@pytest.mark.parametrize("target", ["/ipns/bad.example", "/ipns/SITE/path", "/ipfs/ROOT/path", "//" + "ab" * 32])
def test_what_no_rule_deletes_is_not_said_to_be(fednode: Fednode, sites: list[str], target: str) -> None:
    root = fednode("show", sites[0], "--json").json["head"]["root"]
    target = target.replace("SITE", sites[0]).replace("ROOT", root)
    ran = fednode("block", target, "--drop", "--yes")
    assert (ran.code, "nothing is deleted by a rule on" in ran.err, "hint: --drop is for a site" in ran.err) == (
        1,
        True,
        True,
    )
    assert fednode("policy", "rules", "--json").json["total"] == 0
    assert fednode("block", target).code == 0


def test_a_cid_can_be_blocked(fednode: Fednode, sites: list[str]) -> None:
    root = fednode("show", sites[0], "--json").json["head"]["root"]
    target = fednode("block", f"/ipfs/{root}", "--json").json["rule"]["target"]
    assert Cid.from_text(target.removeprefix("/ipfs/")).multihash == Cid.from_text(root).multihash
    assert {row["state"] for row in fednode("sites", "--json").json["sites"]} == {"quarantined"}
    assert fednode("unblock", root).code == 0
    nonsense = fednode("block", "nonsense")
    assert nonsense.code == 2
    assert nonsense.err.startswith("error: ")


def test_blocklists(fednode: Fednode, home: Path, sites: list[str]) -> None:
    (home / "list.txt").write_text(f"# bad ones\n/ipns/{sites[1]}\nnonsense\n")
    added = fednode("blocklist", "add", "list.txt")
    assert added.code == 0
    assert "1 rule in force" in added.out
    assert "line 3 left out" in added.out
    assert fednode("show", sites[1], "--json").json["blocked"]["list"] == f"{home}/list.txt"
    (status,) = fednode("blocklist", "show", "--json").json["blocklists"]
    assert (status["path"], status["rule_count"], status["problem_count"]) == (f"{home}/list.txt", 1, 1)
    assert f"{home}/list.txt: 1 rule, read" in fednode("blocklist", "show").out
    assert "1 rule" in fednode("status").out
    assert fednode("blocklist", "add", "missing.txt").code == 2
    (home / "list.txt").unlink()
    assert fednode("blocklist", "remove", "list.txt").code == 0
    assert fednode("blocklist", "remove", "list.txt").code == 1
    assert "no blocklists" in fednode("blocklist", "show").out


def test_follow_and_unfollow(fednode: Fednode, sites: list[str]) -> None:
    assert fednode("follow", sites[0], "--json").json == {"site": sites[0]}
    assert fednode("status", "--json").json["hosting"]["follow"] == [sites[0]]
    assert fednode("unfollow", sites[0]).code == 0
    assert fednode("unfollow", sites[0]).code == 1
    assert fednode("follow", "nonsense").code == 1


def test_peers(fednode: Fednode, daemon: SmallDaemon) -> None:
    assert fednode("peers", "--json").json == {"peers": []}
    assert "no peers" in fednode("peers").out
    failed = fednode("peers", "--connect", NOBODY)
    assert failed.code == 1
    assert failed.err.startswith("error: ")


@pytest.mark.parametrize(
    "command",
    [
        ["status"],
        ["sites"],
        ["peers"],
        ["show", "k51"],
        ["block", "k51"],
        ["unblock", "k51"],
        ["blocklist", "show"],
        ["follow", "k51"],
        ["unfollow", "k51"],
        ["unpublish", "--yes"],
    ],
    ids=" ".join,
)
def test_without_a_daemon(fednode: Fednode, home: Path, command: list[str]) -> None:
    ran = fednode(*command, "--json")
    assert ran.code == 3
    lines = ran.err.splitlines()
    assert lines[0].startswith(f"error: no fednode daemon at {home}/data/fednode/run/")
    assert lines[1] == "hint: fednode start"
    assert ran.json["error"]["code"] == "no-daemon"


def test_what_a_peer_or_publisher_wrote_cannot_steer_the_terminal(fednode: Fednode, sites: list[str]) -> None:
    fednode("block", sites[0], "--reason", "‮evil")
    shown = fednode("show", sites[0])
    assert "evil" in shown.out
    assert "‮" not in shown.out
    assert json.loads(fednode("show", sites[0], "--json").out)["blocked"]["reason"] == "‮evil"


def test_site_ids_are_completed_from_the_daemon(sites: list[str]) -> None:
    show = cli.get_command(cli.make_context("fednode", ["show"]), "show")
    assert show is not None
    context = show.make_context("show", [], resilient_parsing=True)
    found = SITE.shell_complete(context, show.params[0], sites[0][:20])
    assert [item.value for item in found] == [site for site in sites if site.startswith(sites[0][:20])]
    assert sites[0] in [item.value for item in found]


def test_completion_without_a_daemon_is_silent(home: Path) -> None:
    show = cli.get_command(cli.make_context("fednode", ["show"]), "show")
    assert show is not None
    context = show.make_context("show", [], resilient_parsing=True)
    assert SITE.shell_complete(context, show.params[0], "k51") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(fednode: Fednode, shell: str) -> None:
    ran = fednode("completion", shell)
    assert ran.code == 0
    assert "_FEDNODE_COMPLETE" in ran.out


def test_every_verb_has_a_short_help_that_its_own_help_begins_with() -> None:
    context = cli.make_context("fednode", ["version"])
    for name in VERBS:
        command = cli.get_command(context, name)
        assert command is not None
        assert command.name == name
        assert command.help, name
