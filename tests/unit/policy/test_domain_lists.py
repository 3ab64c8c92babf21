"""Domain blocks in Mastodon's CSV as lists."""

from __future__ import annotations

from pathlib import Path

import pytest

from node.policy.decide import Policy
from node.policy.list_sources import BlocklistError
from node.policy.model import Act, Subject
from node.policy.subscriptions import Subscriptions
from node.store.memory import MemoryStore
from protocol.domain_blocks import parse_domain_csv
from protocol.errors import DecodeError, OverLimit
from protocol.limits import DOMAIN_BLOCKS_MAX, DOMAIN_CSV_MAX_BYTES
from tests.unit.policy.looking import poll

HEADER = "#domain,#severity,#reject_media,#reject_reports,#public_comment,#obfuscate\n"
CSV = HEADER + (
    'Bad.example,suspend,False,False,"spam, and worse",False\n'
    "loud.example,silence,False,False,,False\n"
    "hid***.example,suspend,False,False,,True\n"
    "münchen.example,suspend,True,True,,False\n"
    "localhost,suspend,False,False,,False\n"
    "short.example,suspend\n"
)


@pytest.fixture
def lists(tmp_path: Path) -> Subscriptions:
    return Subscriptions(MemoryStore(quota_bytes=10**6), tmp_path / "lists", now_s=lambda: 1000)


def test_suspended_domains_are_refused_and_the_other_lines_counted(lists: Subscriptions, tmp_path: Path) -> None:
    path = tmp_path / "blocks.csv"
    path.write_text(CSV)
    status = lists.add(path, name="fedi")
    assert (status.rule_count, status.problem_count, status.error) == (2, 4, None)
    assert status.problems == (
        (3, "severity silence: only suspend makes a rule"),
        (4, "the domain is obfuscated"),
        (6, "not a domain name"),
        (7, "2 fields, where the header has 6"),
    )
    policy = Policy(lists=lists.files.active())

    def verdict(domain: str) -> tuple[str, str]:
        found = policy.decide(Act.HTTP_SERVE, Subject(domains=(domain,)))
        return found.kind, found.reason

    assert verdict("bad.example") == ("quarantine", "spam,-and-worse")
    assert verdict("xn--mnchen-3ya.example")[0] == "quarantine"
    assert {verdict(name)[0] for name in ("loud.example", "hid.example", "a.bad.example", "short.example")} == {"allow"}
    assert lists.rules("fedi", 0, 9) == (
        [("/ipns/bad.example", "spam,-and-worse"), ("/ipns/xn--mnchen-3ya.example", "")],
        2,
    )


@pytest.mark.parametrize(
    "broken", [HEADER + '"bad.example\n', HEADER + "h**.example,suspend,,,,\n", HEADER.replace("\n", ",#domain\n")]
)
def test_a_file_that_breaks_leaves_the_last_good_version(lists: Subscriptions, tmp_path: Path, broken: str) -> None:
    path = tmp_path / "blocks.csv"
    path.write_text(CSV)
    lists.add(path)
    path.write_text(broken)
    with pytest.raises(BlocklistError):
        lists.add(path)
    assert not poll(lists)
    assert not poll(lists)
    (status,) = lists.show()
    assert status.rule_count == 2
    assert status.error


def test_a_header_alone_is_a_list_without_rules(lists: Subscriptions, tmp_path: Path) -> None:
    path = tmp_path / "blocks.csv"
    path.write_text("\ufeff" + HEADER)
    assert lists.add(path).rule_count == 0


def test_a_csv_has_limits() -> None:
    with pytest.raises(OverLimit):
        parse_domain_csv(b" " * (DOMAIN_CSV_MAX_BYTES + 1))
    with pytest.raises(OverLimit):
        parse_domain_csv(b"domain,severity\n" + b"x,y\n" * (DOMAIN_BLOCKS_MAX + 1))
    with pytest.raises(DecodeError):
        parse_domain_csv(b"domain,severity\n" + b"x" * 200_000 + b",suspend\n")
