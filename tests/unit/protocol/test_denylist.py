from __future__ import annotations

import pytest

from protocol.cid import Cid
from protocol.denylist import (
    CidPath,
    DenyRule,
    HashTarget,
    NamePath,
    Target,
    format_target,
    parse_denylist,
    parse_line,
    parse_target,
)
from protocol.errors import DecodeError, Malformed, OverLimit, UnknownVersion
from protocol.limits import (
    DENYLIST_ERRORS_MAX,
    DENYLIST_HEADER_MAX_BYTES,
    DENYLIST_LINE_MAX_BYTES,
    DENYLIST_MAX_BYTES,
    RULE_PATH_MAX_CHARS,
)
from protocol.multibase import decode_bare
from protocol.site_id import SiteId

V0 = "Qmah2YDTfrox4watLCr3YgKyBwvjq8FJZEFdWY6WtJ3Xt2"
V1 = "bafybeihvvulpp4evxj7x7armbqcyg6uezzuig6jp3lktpbovlqfkuqeuoq"
SITE = "k51qzi5uqu5dhmzyv3zac033i7rl9hkgczxyl81lwoukda2htteop7d3x0y1mf"
HASHED = "QmX9dhRcQcKUw3Ws8485T5a9dtjrSCQaUAHnG4iK9i4ceM"
BOTH = "fec6b1388de117bcf7cfe24eb7ce678772839b432c7d6437ca6ca639b3dd4594"  # hex digits, and a multihash in base58
HASH_V0 = Cid.from_text(V0).multihash
HASH_V1 = Cid.from_text(V1).multihash


@pytest.mark.parametrize(
    ("line", "target"),
    [
        (f"/ipfs/{V1}", CidPath(HASH_V1, "", False)),
        (f"/ipfs/{V0}", CidPath(HASH_V0, "", False)),
        (f"/ipfs/{V1}/", CidPath(HASH_V1, "", False)),
        (f"/ipfs/{V1}/*", CidPath(HASH_V1, "", True)),
        (f"/ipfs/{V1}/test", CidPath(HASH_V1, "test", False)),
        (f"/ipfs/{V1}/test/", CidPath(HASH_V1, "test", False)),
        (f"/ipfs/{V1}/test*", CidPath(HASH_V1, "test", True)),
        (f"/ipfs/{V1}/test/*", CidPath(HASH_V1, "test", True)),
        (f"/ipfs/{V1}/a%20b/%C3%BC", CidPath(HASH_V1, "a b/ü", False)),
        (f"/ipfs/{V1}/ü", CidPath(HASH_V1, "ü", False)),
        (f"/ipfs/{V1}/100%25", CidPath(HASH_V1, "100%", False)),
        (f"/ipfs/{V1}/a%2A", CidPath(HASH_V1, "a*", False)),
        (f"/ipfs/{V1}/a*b", CidPath(HASH_V1, "a*b", False)),
        (f"/ipfs/{V1}/.*", CidPath(HASH_V1, ".", True)),
        (f"/ipfs/{V1}/.well-known", CidPath(HASH_V1, ".well-known", False)),
        (f"/ipns/{SITE}", SiteId.from_text(SITE)),
        (f"/ipns/{SITE}/", SiteId.from_text(SITE)),
        ("/ipns/12D3KooWDkNqEJNmreF3NYYFK1ws7Ra2fuW6cHBTu567SPV3LdYA", SiteId.from_text(SITE)),
        (f"/ipns/{SITE}/path", NamePath(SiteId.from_text(SITE), "path", False)),
        (f"/ipns/{SITE}/*", NamePath(SiteId.from_text(SITE), "", True)),
        ("/ipns/Domain.Example.", NamePath("domain.example", "", False)),
        ("/ipns/domain-example/a%20b*", NamePath("domain.example", "a b", True)),
        ("/ipns/a--b-example", NamePath("a-b.example", "", False)),
        ("/ipns/ü.example", NamePath("xn--tda.example", "", False)),
        (f"/ipns/{V0}", NamePath(HASH_V0, "", False)),  # an RSA key
        (f"//{HASHED}", HashTarget(HASHED, Cid.from_text(HASHED).multihash, None)),
        (f"//{'0a' * 32}", HashTarget("0a" * 32, None, b"\x0a" * 32)),
        (f"//{BOTH}", HashTarget(BOTH, decode_bare("base58btc", BOTH), bytes.fromhex(BOTH))),
    ],
)
def test_rules(line: str, target: Target) -> None:
    assert parse_line(line) == DenyRule(target)
    assert parse_line(f"!{line} reason:x") == DenyRule(target, (("reason", "x"),), allow=True)
    assert parse_line(f"  {line}\t\r\n") == DenyRule(target)
    assert parse_target(line) == target
    assert parse_target(format_target(target)) == target


def test_one_text_for_each_target() -> None:
    assert format_target(CidPath(HASH_V1, "a b/*", True)) == (
        "/ipfs/bafkreihvvulpp4evxj7x7armbqcyg6uezzuig6jp3lktpbovlqfkuqeuoq/a%20b/%2A*"
    )
    assert format_target(SiteId.from_text(SITE)) == f"/ipns/{SITE}"


@pytest.mark.parametrize("line", ["", " ", "\t", "\r\n", "# comment", "  # /ipfs/no", "#"])
def test_lines_that_say_nothing(line: str) -> None:
    assert parse_line(line) is None


def test_hints() -> None:
    rule = parse_line(f"/ipfs/{V1}  reason:dmca\tcode:451 empty: url:https://x.example/ # seen twice")
    assert rule is not None
    assert rule.hints == (("reason", "dmca"), ("code", "451"), ("empty", ""), ("url", "https://x.example/"))


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("//", "truncated"),
        ("//0a", "malformed"),
        (f"//{'0a' * 31}", "malformed"),
        ("!", "malformed"),
        (f"!!/ipfs/{V1}", "malformed"),
        ("/ipns/a..example", "malformed"),
        ("/ipns/ex_ample!.org", "malformed"),
        ("/ipns/" + "a." * 200 + "example", "malformed"),
        (f"/ipns/{V1}", "unsupported-codec"),
        (f"/ipfs/{SITE}", "unsupported-codec"),
        (f"/ipfs/{SITE}/path", "unsupported-codec"),
        ("/ipfs/", "malformed"),
        ("/ipns/", "malformed"),
        ("/ipld/x", "malformed"),
        ("/path/*", "malformed"),
        (V1, "malformed"),
        ("ipfs/" + V1, "malformed"),
        (f"/IPFS/{V1}", "malformed"),
        (f"/ipfs/{V1}*", "malformed"),
        (f"/ipfs/{V1}/my file.txt", "malformed"),
        (f"/ipfs/{V1}/100%", "malformed"),
        (f"/ipfs/{V1}/%zz", "malformed"),
        (f"/ipfs/{V1}/%ff", "malformed"),
        (f"/ipfs/{V1}/%ed%a0%80", "malformed"),
        (f"/ipfs/{V1}/\ud800", "malformed"),
        (f"/ipfs/{V1}/a//b", "malformed"),
        (f"/ipfs/{V1}/a/../b", "malformed"),
        (f"/ipfs/{V1}/./b*", "malformed"),
        (f"/ipfs/{V1}/..", "malformed"),
        (f"/ipfs/{V1}/" + "a" * (RULE_PATH_MAX_CHARS + 1), "over-limit"),
        ("/ipfs/" + "b" * 1000, "over-limit"),
        ("/ipfs/" + V1[:-1], "malformed"),
        ("k51nonsense", "malformed"),
    ],
)
def test_lines_without_effect_say_why(line: str, code: str) -> None:
    with pytest.raises(DecodeError) as caught:
        parse_line(line)
    assert caught.value.code == code


def test_a_list_with_a_header() -> None:
    text = f"version: 1\nname: a list\n---\n# comment\n/ipfs/{V1}\n\n/ipns/x..y\r\nnonsense\n/ipns/{SITE}"
    for raw in (text.encode(), b"\xef\xbb\xbf" + text.encode()):
        found = parse_denylist(raw)
        assert [rule.target for rule in found.rules] == [CidPath(HASH_V1, "", False), SiteId.from_text(SITE)]
        assert [(error.line, error.error.code) for error in found.errors] == [(7, "malformed"), (8, "malformed")]
        assert found.error_count == 2


@pytest.mark.parametrize(
    "header", ["", "---\n", "name: x\r\n---\r\n", 'version: "1"\n---\n', "a:\n  version: 2\n--- \n"]
)
def test_headers(header: str) -> None:
    found = parse_denylist(f"{header}/ipfs/{V1}\nx".encode())
    assert len(found.rules) == 1
    assert [error.line for error in found.errors] == [header.count("\n") + 2]


@pytest.mark.parametrize("version", ["2", "0", "1.1", "", "'2'"])
def test_a_list_of_another_version(version: str) -> None:
    with pytest.raises(UnknownVersion):
        parse_denylist(f"version: {version}\n---\n/ipfs/{V1}\n".encode())


@pytest.mark.parametrize("rule", [f"/ipfs/{V1}", f"!/ipfs/{V1}", "//hash"])
def test_rules_above_a_headers_end_would_be_lost(rule: str) -> None:
    with pytest.raises(Malformed, match="header"):
        parse_denylist(f"{rule}\n---\n/ipns/{SITE}\n".encode())


def test_a_header_over_its_limit_is_no_header() -> None:
    filler = "# filler\n" * (DENYLIST_HEADER_MAX_BYTES // 9 + 1)
    found = parse_denylist(f"name: x\n{filler}---\n/ipfs/{V1}\n".encode())
    assert len(found.rules) == 1
    assert [error.error.code for error in found.errors] == ["malformed", "malformed"]
    assert found.errors[1].line == filler.count("\n") + 2


def test_errors_are_counted_beyond_those_that_are_kept() -> None:
    found = parse_denylist(b"nonsense\n" * (DENYLIST_ERRORS_MAX + 50))
    assert len(found.errors) == DENYLIST_ERRORS_MAX
    assert found.error_count == DENYLIST_ERRORS_MAX + 50


def test_a_line_that_is_not_utf8_loses_only_itself() -> None:
    found = parse_denylist(b"/ipfs/\xff\n/ipns/" + SITE.encode())
    assert len(found.rules) == 1
    assert [(error.line, error.error.code) for error in found.errors] == [(1, "malformed")]


def test_sizes_are_bounded() -> None:
    longest = b"#" * (DENYLIST_LINE_MAX_BYTES - 1) + b"\n"
    assert parse_denylist(longest).error_count == 0
    assert parse_denylist(b"#" + longest).errors[0].error.code == "over-limit"
    with pytest.raises(OverLimit):
        parse_denylist(bytes(DENYLIST_MAX_BYTES + 1))
