"""Why there is no answer, as answers: one place maps what went wrong to a status and a page."""

from __future__ import annotations

import math

import trio

from node.gateway import pages
from node.gateway.backend import Unavailable
from node.gateway.blocks import PartMissing
from node.gateway.formats import FormatError
from node.gateway.heads import NoConsent, NotHosted, SiteEnded
from node.gateway.http1 import BadRequest
from node.gateway.limits import CONTENT_MAX_AGE_S, NAME_MAX_AGE_S
from node.gateway.pages import Self
from node.gateway.response import Header, Response
from node.gateway.routing import SitePath
from node.gateway.view import Refused
from node.policy.model import Verdict
from protocol.data_walk import EndsInsideBlock
from protocol.errors import DecodeError, OperatorError

# Without an origin of its own a site gets none at all: its scripts cannot read what other sites left behind.
SANDBOX = "sandbox allow-scripts allow-forms allow-popups"
IMMUTABLE = f"public, max-age={CONTENT_MAX_AGE_S}, immutable"
CACHE_CONTROL = f"public, max-age={NAME_MAX_AGE_S}, must-revalidate"
# Under a CID the entries never change, though their page may look otherwise after an update (path gateway spec).
LISTING_CACHE_CONTROL = "public, max-age=604800, stale-while-revalidate=2678400"
RETRY_AFTER_S = 10

NO_CONSENT = "DNS names a site for {name}, but that site does not list this name, or is not hosted here."

SITE_ERRORS = (
    FormatError,
    EndsInsideBlock,
    Refused,
    SiteEnded,
    NotHosted,
    NoConsent,
    Unavailable,
    trio.TooSlowError,
    DecodeError,
    OperatorError,
)

_TITLES = {
    400: "Bad request",
    404: "Not found",
    406: "Not in this form",
    405: "Only GET and HEAD",
    408: "Too slow",
    413: "No request bodies",
    414: "Address too long",
    429: "Too many requests",
    431: "Request too large",
    500: "Internal error",
    501: "Not done here",
    503: "Busy",
    504: "No answer in time",
    505: "HTTP version",
}
_UNAVAILABLE = {"not-found": (404, "Not found"), "timeout": (504, "No answer in time"), "busy": (503, "Not now")}


def page(status: int, body: bytes, *more: Header, sandboxed: bool = False) -> Response:
    """One of the node's own pages."""
    csp = f"{pages.CSP}; {SANDBOX}" if sandboxed else pages.CSP
    return Response(status, [*pages.HEADERS, ("Content-Security-Policy", csp), *more], body)


def redirect(location: str, status: int = 301) -> Response:
    """Kept briefly by caches, because a later release may have another thing there."""
    return Response(status, [("Location", location), ("Cache-Control", CACHE_CONTROL)])


def listing_freshness(place: SitePath) -> str:
    """Cache-Control of a page that the node makes of content."""
    return CACHE_CONTROL if place.cid is None else LISTING_CACHE_CONTROL


def bad_request(error: BadRequest, me: Self) -> Response:
    """A request that is not even about a site."""
    more: list[Header] = []
    if error.status == 405:
        more.append(("Allow", "GET, HEAD"))
    if error.status in (429, 503, 504):
        more.append(("Retry-After", str(RETRY_AFTER_S if error.retry_s is None else math.ceil(error.retry_s))))
    title = _TITLES.get(error.status, "Error")
    return page(error.status, pages.plain(title, f"No answer to this: {error.reason}.", me), *more)


def refused_form(error: FormatError, me: Self) -> Response:
    """A form of the content that is not given, or makes no sense."""
    return page(error.status, pages.plain(_TITLES[error.status], f"No answer to this: {error.reason}.", me))


def site_failure(error: Exception, place: SitePath, me: Self) -> Response:
    """The answer to one of SITE_ERRORS."""
    status, body, more = _describe(error, place, me)
    return page(status, body, *more, sandboxed=not place.isolated)


def _describe(error: Exception, place: SitePath, me: Self) -> tuple[int, bytes, list[Header]]:
    site = place.site
    match error:
        case FormatError(status=status, reason=reason):
            return status, pages.plain(_TITLES[status], f"No answer to this: {reason}.", me), []
        case EndsInsideBlock():
            text = "The path leads to a value inside a block; only whole blocks are given, so ask for the block itself."
            return 501, pages.plain(_TITLES[501], text, me), []
        case Refused(verdict=verdict):
            return _refused(verdict, place, me)
        case SiteEnded(release=release):
            return 410, pages.ended(release.site, release.created_s, me), []
        case NotHosted():
            text = "This node does not host this site, and does not fetch sites for its readers."
            return 404, pages.unavailable("Not hosted here", text, site, me), []
        case NoConsent():
            return 404, pages.plain("Nothing here", NO_CONSENT.format(name=place.name), me), []
        case DecodeError():
            text = "The site's data is not what it should be; its publisher has to mend it."
            return 502, pages.unavailable("Broken site", text, site, me), []
        case Unavailable(kind="refused", reason=reason):
            return _refused(Verdict("refuse", reason=reason), place, me)
        case PartMissing(kind="not-found", reason=reason):
            return _unavailable(502, "A part is missing", reason, place, me)
        case Unavailable(kind=kind, reason=reason):
            status, title = _UNAVAILABLE[kind]
            return _unavailable(status, title, reason, place, me)
        case OperatorError(code=code):
            return _unavailable(503, "Not now", f"this node cannot read its store ({code})", place, me)
        case _:
            return _unavailable(504, "No answer in time", "no other node answered in time", place, me)


def _refused(verdict: Verdict, place: SitePath, me: Self) -> tuple[int, bytes, list[Header]]:
    body, status = pages.refused(verdict, place.site, me, place.home), verdict.http_status
    return status, body, [("Link", f'<{blocked_by(me, place.home)}>; rel="blocked-by"')] if status == 451 else []


def _unavailable(status: int, title: str, reason: str, place: SitePath, me: Self) -> tuple[int, bytes, list[Header]]:
    body = pages.unavailable(title, f"This could not be had: {reason}.", place.site, me)
    return status, body, [("Retry-After", str(RETRY_AFTER_S))] if status != 404 else []


def blocked_by(me: Self, home: str) -> str:
    """Who implements a block, as a URL (RFC 7725, 4)."""
    contact = me.contact
    if contact.isascii() and contact.isprintable() and not set(contact) & set('<>" '):
        if contact.startswith(("https://", "http://", "mailto:")):
            return contact
        if "@" in contact:
            return f"mailto:{contact}"
    return home
