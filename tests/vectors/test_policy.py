"""Runs tests/vectors/policy.json: the vectors of docs/spec/policy.md."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from node.policy.active import ActiveList
from node.policy.decide import Policy
from node.policy.model import Act, Hosting, Publisher, Subject, Verdict, name_key
from node.policy.rules import read_target, rule_of, target_text
from node.store.port import RuleRow
from protocol.cid import Cid
from protocol.deny_index import DenyIndex, build
from protocol.ipns import name_of
from protocol.site_id import SiteId

HERE = Path(__file__).parent
SPEC = HERE.parents[1] / "docs/spec/policy.md"
VECTORS: dict[str, Any] = json.loads((HERE / "policy.json").read_text("utf-8"))
NAMES: dict[str, str] = VECTORS["sites"] | VECTORS["cids"] | VECTORS["names"] | VECTORS["peers"]


def fill(text: str) -> str:
    return re.sub(r"\{([a-z0-9-]+)\}", lambda match: NAMES[match[1]], text)


def list_of(given: dict[str, Any]) -> ActiveList:
    raw = fill("\n".join(given["lines"])).encode()
    index = DenyIndex(build(raw, now_s=given["since_s"]).table, raw)
    overruled, accepted = (frozenset(map(fill, given.get(name, []))) for name in ("overruled", "accepted"))
    mode, quorum = given.get("mode", "enforce"), given.get("quorum", 1)
    return ActiveList(given["name"], mode, index, overruled, accepted, quorum=quorum)


def policy_of(scene: dict[str, Any]) -> Policy:
    rows = [
        RuleRow(fill(rule["target"]), rule["verdict"], rule["ground"], rule["reason"], rule["since_s"])
        for rule in scene["rules"]
    ]
    lists = [list_of(given) for given in scene.get("lists", [])]
    hosting = scene.get("hosting")
    if hosting is None:
        return Policy(map(rule_of, rows), lists=lists)
    return Policy(map(rule_of, rows), hosting_of(hosting), lists)


def hosting_of(given: dict[str, Any]) -> Hosting:
    invited: dict[SiteId, Publisher] = {}
    for each in given.get("publishers", []):
        sites = sites_of(each["sites"])
        invited |= dict.fromkeys(sites, Publisher(sites, each["quota_bytes"]))
    return Hosting(
        given["mode"],
        sites_of(given["follow"]),
        given["max_site_bytes"],
        invited,
        given.get("publisher_quota_bytes"),
        tuple(given.get("media_types", [])),
        given.get("other_media_percent", 0),
    )


def sites_of(given: list[str]) -> frozenset[SiteId]:
    return frozenset(SiteId.from_text(fill(site)) for site in given)


def subject_of(given: dict[str, Any]) -> Subject:
    return Subject(
        site=SiteId.from_text(fill(given["site"])) if "site" in given else None,
        root=Cid.from_text(fill(given["root"])) if "root" in given else None,
        path=given.get("path", ""),
        trail=tuple(Cid.from_text(fill(cid)) for cid in given.get("trail", [])),
        domains=tuple(given.get("domains", [])),
        size_bytes=given.get("size_bytes"),
        local=given.get("local", False),
        peer=fill(given["peer"]) if "peer" in given else None,
        others_bytes=given.get("others_bytes", 0),
        media=tuple((name, size) for name, size in given.get("media", [])),
        names=tuple(name_key(name_of(fill(name))) for name in given.get("names", [])),
    )


def cases() -> Iterator[Any]:
    for scene in VECTORS["scenes"]:
        for number, case in enumerate(scene["cases"], 1):
            acts = list(Act) if case["act"] == "every" else [Act(case["act"])]
            for act in acts:
                yield pytest.param(scene, act, case, id=f"{scene['name']}-{number}-{act.value}")


@pytest.mark.parametrize(("scene", "act", "case"), list(cases()))
def test_verdict(scene: dict[str, Any], act: Act, case: dict[str, Any]) -> None:
    verdict = policy_of(scene).decide(act, subject_of(case["subject"]))
    if case["expect"] == "allow":
        assert verdict == Verdict("allow")
        assert verdict.http_status == 200
        return
    expect = case["expect"]
    rule = expect["rule"] and fill(expect["rule"])
    if rule is not None and expect["list"] is None:
        rule = target_text(read_target(rule))
    assert not verdict.allowed
    assert (verdict.kind, verdict.ground, verdict.rule) == (expect["kind"], expect["ground"], rule)
    assert (verdict.list_name, verdict.code, verdict.http_status) == (
        expect["list"],
        expect["code"],
        expect["http"],
    )
    if rule is not None and expect["list"] is None:
        (given,) = (given for given in scene["rules"] if target_text(read_target(fill(given["target"]))) == rule)
        assert (verdict.reason, verdict.since_s) == (given["reason"], given["since_s"])


def test_every_scene_is_named_in_the_spec_and_no_other() -> None:
    text = " ".join(SPEC.read_text("utf-8").split())  # a name may go on in the next line
    named = set(re.findall(r"\[vector: ([^\]]+)\]", text))
    assert named == {scene["name"] for scene in VECTORS["scenes"]}
