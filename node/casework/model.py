"""What a report is, and how urgent. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar, Final
from urllib.parse import unquote, urlsplit

from node.policy.model import HashTarget, PeerTarget
from node.policy.rules import BadTarget, read_target, target_text
from protocol.dnslink import is_domain, uninline
from protocol.errors import PeerError

HOUR_S: Final = 3600
DAY_S: Final = 24 * HOUR_S
WHERE_MAX_CHARS: Final = 2000
WHY_MAX_CHARS: Final = 2000
CONTACT_MAX_CHARS: Final = 200
EVIDENCE_MAX_CHARS: Final = 1000


@dataclass(frozen=True, slots=True)
class Category:
    """A kind of report. level_s: how long one may wait for its decision. at_once: its harm goes on while a publisher
    has notice, so that a refusal does not wait for that."""

    label: str
    level_s: int
    at_once: bool = False


CATEGORIES: Final = {
    "child-abuse": Category("sexual abuse of children", HOUR_S, at_once=True),
    "violence": Category("threats, or a call for violence", 4 * HOUR_S, at_once=True),
    "malware": Category("malware or phishing", 12 * HOUR_S, at_once=True),
    "law": Category("a court order or another demand of the law", DAY_S),
    "privacy": Category("private information about a person", 2 * DAY_S),
    "copyright": Category("copyright or trademark", 3 * DAY_S),
    "spam": Category("spam or deception", 7 * DAY_S),
    "other": Category("something else", 7 * DAY_S),
}

APPEAL: Final = "appeal"
LEVELS: Final = CATEGORIES | {APPEAL: Category("a publisher's appeal", DAY_S)}

_LABEL = re.compile(r"([0-9a-zA-Z-]{4,200})\.(ipns|ipfs)\.")


class BadReport(PeerError):
    """A report that cannot be taken: whoever made it can mend it."""

    code: ClassVar[str] = "bad-report"


@dataclass(frozen=True, slots=True)
class Report:
    """One report. subject: what a rule could name; where: the address or name that was given; contact: never shown
    to others."""

    subject: str
    where: str
    category: str
    why: str
    contact: str = ""
    evidence: str = ""


def read_report(fields: dict[str, str]) -> Report:
    """A report as it was sent; BadReport."""
    known = {"where", "category", "why", "contact", "evidence"}
    unknown = set(fields) - known
    if unknown:
        raise BadReport(f"there is no field {sorted(unknown)[0][:40]!r}")
    category = fields.get("category", "")
    if category not in CATEGORIES:
        raise BadReport(f"category must be one of: {', '.join(CATEGORIES)}")
    where = _text(fields, "where", WHERE_MAX_CHARS)
    why = _text(fields, "why", WHY_MAX_CHARS)
    if not where or not why:
        raise BadReport("say what it is about, and why you report it")
    return Report(
        subject=subject_of(where),
        where=where,
        category=category,
        why=why,
        contact=_text(fields, "contact", CONTACT_MAX_CHARS),
        evidence=_text(fields, "evidence", EVIDENCE_MAX_CHARS),
    )


def subject_of(where: str) -> str:
    """What a rule on it would name: the site, or the CID with its path. BadReport.

    A page of a site is the site, or the domain under which it was read: rules name no paths below /ipns/. The reported
    address stays in the report.
    """
    try:
        target = read_target(_name_in(where))
    except BadTarget as error:
        raise BadReport(f"this names no site and no content: {where[:100]!r}") from error
    if isinstance(target, PeerTarget | HashTarget):
        raise BadReport("this names a node, or a hash that tells nobody what it is about")
    return target_text(target)


def _name_in(where: str) -> str:
    if not where.startswith(("http://", "https://")):
        return _site_alone(where)
    try:
        parts = urlsplit(where)
        host, path = (parts.hostname or "").removesuffix("."), unquote(parts.path)
    except ValueError as error:
        raise BadReport("this is no address") from error
    found = _LABEL.match(host)
    if found is not None:
        return _site_alone(f"/{found[2]}/{uninline(found[1]) or found[1]}{parts.path.rstrip('/')}")
    return _site_alone(path if path.startswith(("/ipns/", "/ipfs/")) else host)


def _site_alone(name: str) -> str:
    name = name.strip().rstrip("/")
    for scheme in ("ipns", "ipfs"):
        name = name.replace(f"{scheme}://", f"/{scheme}/", 1) if name.startswith(f"{scheme}://") else name
    parts = name.split("/")
    if is_domain(name.lower()):
        return f"/ipns/{name.lower()}"
    return "/".join(parts[:3]) if parts[:2] == ["", "ipns"] else name


def _text(fields: dict[str, str], name: str, max_chars: int) -> str:
    text = "".join(char for char in fields.get(name, "") if char.isprintable() or char in "\n\t").strip()
    if len(text) > max_chars:
        raise BadReport(f"{name} has {len(text)} characters, at most {max_chars}")
    return text


def rank_s(first_s: int, category: str, count: int) -> int:
    """When a case is at the latest to be looked at, in Unix seconds: each doubling of its reports takes off as much as
    if the level were divided once more (by two, three, four …), so that age, category and repetition all count. An
    appeal goes before every report that came after it: somebody's site is at stake, and there are few."""
    if category == APPEAL:
        return first_s
    return first_s + CATEGORIES[category].level_s // max(1, count).bit_length()


def stricter(one: str, other: str) -> str:
    """The more urgent of two categories."""
    return min(one, other, key=lambda name: LEVELS[name].level_s)
