"""The node's own pages: small, complete in themselves, light or dark, readable on a phone. Pure.

Everything that comes from outside goes through `escape`; the pages hold no script and load nothing.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from html import escape

from node.gateway.response import Header
from node.gateway.routing import Owner, address_of, is_name, owner_text
from node.policy.model import Verdict
from protocol.site_id import SiteId

HEADERS: tuple[Header, ...] = (
    ("Content-Type", "text/html; charset=utf-8"),
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
)
_STYLE = (
    ":root{color-scheme:light dark}"
    "body{font:1rem/1.5 system-ui,sans-serif;max-width:40rem;margin:10vh auto;padding:0 1rem;overflow-wrap:anywhere}"
    "h1{font-size:1.4rem;line-height:1.2}dt{font-weight:600;margin-top:.6rem}dd{margin:0}"
    "code,pre,.way{font-size:.9em}pre{overflow-x:auto}table{width:100%;border-spacing:0}"
    "td{padding:.15rem .6rem .15rem 0;vertical-align:top}td+td{white-space:nowrap;text-align:right}"
    "ul{padding-left:1.2rem}small,footer{opacity:.7}footer{margin-top:2.5rem}"
)


def csp(*styles: str, form_action: str = "'none'") -> str:
    """Of a page with these styles beside the one of all pages, and nothing else that is active."""
    hashes = (b64encode(sha256(style.encode()).digest()).decode() for style in (_STYLE, *styles))
    allowed = " ".join(f"'sha256-{digest}'" for digest in hashes)
    return f"default-src 'none'; style-src {allowed}; base-uri 'none'; form-action {form_action}"


CSP = csp()


@dataclass(frozen=True, slots=True)
class Self:
    """Who answers. contact: where to appeal, or ""."""

    name: str
    contact: str
    entry_of: Callable[[str, str | None], int | None] = field(default=lambda _rule, _list: None, compare=False)
    """The number in the decision log of what put a rule of a list, or of the operator, in force."""
    has_notice: Callable[[SiteId], bool] = field(default=lambda _site: False, compare=False)
    """Whether the publisher of a site was told something."""

    @property
    def label(self) -> str:
        """What the node is called on its pages; text."""
        return f"the node {self.name}" if self.name else "a node without a name"


def page(title: str, content: Iterable[str], me: Self) -> bytes:
    """A whole page; title is text, content is HTML."""
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style>"
        f"<h1>{escape(title)}</h1>{''.join(content)}"
        f"<footer>Answered by {escape(me.label)} (fednode).</footer></html>\n"
    ).encode("utf-8", "replace")


def paragraph(text: str) -> str:
    """A paragraph of plain text."""
    return f"<p>{escape(text, quote=False)}</p>"


def facts(rows: Iterable[tuple[str, str]]) -> str:
    """A list of what is known; rows with an empty value are left out."""
    return "<dl>" + "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in rows if v) + "</dl>"


def _label(site: Owner) -> tuple[str, str]:
    return ("Site" if isinstance(site, SiteId) else "Name" if is_name(site) else "Tree", owner_text(site))


def elsewhere(site: Owner) -> str:
    """Where else the site may be had."""
    return (
        "<p>Other nodes decide for themselves and may have this site. At any other fednode or IPFS gateway "
        f"its name is <code>{address_of(site)}</code></p>"
    )


def refused(verdict: Verdict, site: Owner, me: Self, home: str = "/") -> bytes:
    """410 and 451: who refuses, by which rule, since when, and how to appeal. home: the node's front page, a URL."""
    number = me.entry_of(verdict.rule, verdict.list_name) if verdict.rule else None
    legal = verdict.ground == "legal"
    title = "Unavailable for legal reasons" if legal else "This node does not serve this"
    why = "a legal demand" if legal else "its own policy"
    return page(
        title,
        [
            paragraph(f"The operator of this node refuses it, because of {why}. The refusal holds for this node only."),
            facts(
                [
                    ("Refused by", f"the operator of {me.name or 'this node'}"),
                    ("Reason", verdict.reason or "none was given"),
                    ("Rule", verdict.rule or "the settings of this node"),
                    ("From list", verdict.list_name or ""),
                    ("Since", _day(verdict.since_s)),
                    ("Appeal to", me.contact),
                ]
            ),
            _log_entry(home, number) if number is not None else "",
            _notices(home, site) if isinstance(site, SiteId) and me.has_notice(site) else "",
            elsewhere(site),
        ],
        me,
    )


def _log_entry(home: str, number: int) -> str:
    url = f"{home}.well-known/fednode/log/entries/{number}/{number + 1}"
    return f'<p>This is <a href="{escape(url)}">entry {number}</a> of this node\'s public log of decisions.</p>'


def _notices(home: str, site: SiteId) -> str:
    url = f"{home}.well-known/fednode/notices/{site}"
    return f'<p>What its publisher was told, and can do: <a href="{escape(url)}">notices</a>.</p>'


def ended(site: SiteId, created_s: int, me: Self) -> bytes:
    """410: the publisher's own end mark."""
    return page(
        "This site has ended",
        [
            paragraph("Its publisher ended it, with a signature that anybody can check."),
            facts([("Site", str(site)), ("Since", _day(created_s))]),
        ],
        me,
    )


def not_in_site(path: str, site: Owner, me: Self) -> bytes:
    """404: the site is here, the path is not in it."""
    return page("Not found", [paragraph(f"There is no /{path} in this site."), facts([_label(site)])], me)


def unavailable(title: str, text: str, site: Owner, me: Self) -> bytes:
    """404, 502, 503, 504: the site, or a part of it, cannot be had."""
    return page(title, [paragraph(text), elsewhere(site)], me)


def plain(title: str, text: str, me: Self) -> bytes:
    """Anything else that is to be said."""
    return page(title, [paragraph(text)], me)


def front(me: Self, hosted: int, links: Sequence[tuple[str, str]]) -> bytes:
    """The node's own page. links: (URL, text) of hosted sites, empty when the operator does not list them."""
    sites = "one site" if hosted == 1 else f"{hosted} sites"
    content = [
        paragraph(
            f"This is a fednode node. It keeps {sites} and serves what it hosts to readers. "
            "Each site is signed by its publisher; every byte is checked before it is served."
        ),
        "<p>A site's address here is <code>/ipns/SITE/</code></p>",
        facts([("Contact", me.contact)]),
    ]
    if links:
        content.append("<ul>" + "".join(f'<li><a href="{escape(u)}">{escape(t)}</a>' for u, t in links) + "</ul>")
    return page(me.name or "fednode", content, me)


def _day(seconds: int | None) -> str:
    if not seconds:
        return ""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d")
