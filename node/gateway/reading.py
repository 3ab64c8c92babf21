"""One request on its way through a site, and the headers that its answers share."""

from __future__ import annotations

from dataclasses import dataclass

from node.gateway.failures import CACHE_CONTROL, IMMUTABLE, SANDBOX
from node.gateway.heads import Current
from node.gateway.http1 import Request
from node.gateway.response import Header
from node.gateway.routing import SitePath
from node.gateway.tree import Found, LoadBlock

# Every page of the web may read what it can verify, and what has no origin of its own. No cookies are ever sent.
OPEN: tuple[Header, ...] = (
    ("Access-Control-Allow-Origin", "*"),
    ("Access-Control-Allow-Methods", "GET, HEAD, OPTIONS"),
    ("Access-Control-Allow-Headers", "Content-Type, Range, User-Agent, X-Requested-With"),
    (
        "Access-Control-Expose-Headers",
        "Content-Length, Content-Range, ETag, X-Chunked-Output, X-Ipfs-Path, X-Ipfs-Roots, X-Stream-Output",
    ),
)
_ROOTS_MAX_CHARS = 2048  # of X-Ipfs-Roots, about 34 names; a deeper path goes without


@dataclass(frozen=True, slots=True)
class Reading:
    """What is asked for, of which release, and how its blocks are had."""

    request: Request
    place: SitePath
    current: Current
    load: LoadBlock
    own_headers: tuple[Header, ...] = ()
    """What the site's `_headers` say for the place."""

    def asked(self, header: str) -> str | None:
        """A header of the request."""
        return self.request.headers.get(header)

    @property
    def freshness(self) -> str:
        """Cache-Control of what the place holds: what a CID names never changes, what a name stands for may."""
        return CACHE_CONTROL if self.place.cid is None else IMMUTABLE

    def path_headers(self, found: Found | None) -> list[Header]:
        """Where the answer stands in IPFS."""
        headers: list[Header] = [("X-Ipfs-Path", self.place.address + self.place.url_path)]
        if found is not None and len(found.roots_text) <= _ROOTS_MAX_CHARS:
            headers.append(("X-Ipfs-Roots", found.roots_text))
        return headers

    def page_headers(
        self,
        found: Found | None,
        kind: str | None,
        etag: str | None,
        *,
        freshness: str | None = None,
        vary: str = "Accept",
    ) -> list[Header]:
        """Of an answer that a browser shows. etag None: not to be kept."""
        own = dict(self.own_headers)
        own_freshness = own.pop("Cache-Control", None)
        headers: list[Header] = []
        if kind is not None:
            headers += [("Content-Type", kind), ("X-Content-Type-Options", "nosniff")]
        if etag is not None:
            headers += [("ETag", etag), ("Cache-Control", freshness or own_freshness or self.freshness)]
        else:
            headers.append(("Cache-Control", "no-cache"))
        headers += [("Vary", vary), *self.path_headers(found), *own.items()]
        if not self.place.isolated:
            headers += [("Content-Security-Policy", SANDBOX), *OPEN]
        return headers
