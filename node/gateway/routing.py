"""What a Host and a path ask for. Pure. IPFS subdomain and path gateway specs; RFC 9110, 7.2."""

from __future__ import annotations

import functools
import ipaddress
import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Literal
from urllib.parse import parse_qs, quote, unquote_to_bytes

from node.gateway.http1 import BadRequest
from node.gateway.limits import PATH_SEGMENTS_MAX
from protocol import ipns
from protocol.cid import DAG_PB, IDENTITY, LIBP2P_KEY, SHA2_256, Cid
from protocol.dnslink import inline, is_domain, uninline
from protocol.errors import DecodeError, UnsupportedCodec, UnsupportedHash
from protocol.site_id import SiteId

Scheme = Literal["http", "https"]
Owner = SiteId | Cid
"""Of content: a site; a name whose key is no site id, as a CID of codec libp2p-key; a kept tree, by its root."""

_HOST = re.compile(r"(\[[0-9a-fA-F:.]{2,45}\]|[0-9a-zA-Z_.-]{1,253})(?::([0-9]{0,5}))?", re.ASCII)
_LABEL = re.compile(r"[0-9a-z_](?:[0-9a-z_-]*[0-9a-z_])?", re.ASCII)
_URI = re.compile(r"(ip[nf]s)://([^/?#\x00-\x20][^\x00-\x1f\x7f]*)")
_URI_FIELDS_MAX = 8
_BAD_PERCENT = re.compile(r"%(?![0-9a-fA-F]{2})")
LABEL_MAX_CHARS = 63  # RFC 1035, 2.3.4
# What may stand in a path unescaped (RFC 3986, 3.3).
_PATH_SAFE = "!$&'()*+,;=:@-._~"


@dataclass(frozen=True, slots=True)
class SitePath:
    """A place in a site, or in a tree that is kept without one.

    site: the site, or the root of the tree. name: the site id, or the domain, as text. inside: where in the tree the
    place's root is, if a domain stands for that. must_list: the release has to list the domain. base: what precedes the
    place in the URL's path, "" on the site's own origin. home: the node's front page, as a URL.
    """

    site: Owner
    name: str
    segments: tuple[str, ...]
    trailing_slash: bool
    query: str
    base: str
    home: str
    inside: tuple[str, ...] = ()
    cid: Cid | None = None
    """The place was asked for under this root, whatever site it is of; None: under the site's name."""
    given: Cid | None = None
    """That root as it was written, which may be its version 0."""
    must_list: bool = False

    @property
    def address(self) -> str:
        """What the place is asked for under: `/ipns/NAME` or `/ipfs/CID`."""
        return f"/ipns/{self.name}" if self.cid is None else f"/ipfs/{self.cid}"

    @property
    def isolated(self) -> bool:
        """The site has an origin to itself; otherwise its scripts must be kept from the other sites'."""
        return not self.base

    @property
    def path(self) -> str:
        """Decoded, without slashes at its ends."""
        return "/".join(self.segments)

    @property
    def url_path(self) -> str:
        """Percent-encoded path within the site, as asked for, without doubled slashes."""
        path = "".join("/" + quote(segment, safe=_PATH_SAFE) for segment in self.segments)
        return path + "/" if self.trailing_slash else path


@dataclass(frozen=True, slots=True)
class CidPath:
    """A place below a CID. Fields as in SitePath; cid: version 1; given: as it was asked for."""

    cid: Cid
    given: Cid
    segments: tuple[str, ...]
    trailing_slash: bool
    query: str
    base: str
    home: str

    def of_site(self, site: Owner) -> SitePath:
        """The same place, once it is known which site or tree it is served for."""
        return SitePath(
            site,
            owner_text(site),
            self.segments,
            self.trailing_slash,
            self.query,
            self.base,
            self.home,
            cid=self.cid,
            given=self.given,
        )


@dataclass(frozen=True, slots=True)
class NamePath:
    """A place in the site or tree that a domain stands for. Fields as in SitePath; path: raw.

    otherwise: what the request is for if no hosted site lists the domain.
    """

    name: str
    path: str
    query: str
    base: str
    home: str
    otherwise: Route

    def of_owner(self, owner: Owner, inside: tuple[str, ...] = (), *, must_list: bool = False) -> SitePath | Nothing:
        """The same place, once it is known which site or tree it is in. Raises BadRequest."""
        place = _site_path(owner, self.name, self.path, self.query, base=self.base, home=self.home, inside=inside)
        return replace(place, must_list=must_list) if isinstance(place, SitePath) else place


@dataclass(frozen=True, slots=True)
class Redirect:
    """The same thing under its proper address."""

    location: str
    status: int = 301


@dataclass(frozen=True, slots=True)
class NodePath:
    """Something of the node itself. path: raw."""

    path: str


@dataclass(frozen=True, slots=True)
class Nothing:
    """No such place on this gateway. reason: for people."""

    status: int
    reason: str


Route = SitePath | CidPath | NamePath | Redirect | NodePath | Nothing


@dataclass(frozen=True, slots=True)
class Host:
    """A Host header: name in lower case without a final dot, port as sent or ""."""

    name: str
    port: str

    @property
    def suffix(self) -> str:
        """ ":port", if there was one."""
        return f":{self.port}" if self.port else ""

    @property
    def is_address(self) -> bool:
        """An IP address, which can have no subdomains."""
        return _is_address(self.name)


@functools.lru_cache(maxsize=1024)
def parse_host(text: str) -> Host:
    """A Host header. Raises BadRequest."""
    matched = _HOST.fullmatch(text)
    if matched is None or (matched[2] and int(matched[2]) > 65535):
        raise BadRequest(400, "not a host name")
    name = matched[1].lower().removesuffix(".")
    if not _is_address(name) and not all(_LABEL.fullmatch(label) for label in name.split(".")):
        raise BadRequest(400, "not a host name")
    return Host(name, matched[2] or "")


def route(
    host_text: str | None, target: str, domains: Collection[str], scheme: Scheme = "http", *, trustless: bool = False
) -> Route:
    """What a request is for. domains: names whose subdomains are sites. Raises BadRequest.

    trustless: the answer is no page but a download that its reader verifies, and needs no origin of its own.
    A host that is none of the domains is served like an IP address, where sites are paths and share one origin.
    """
    host = parse_host(host_text) if host_text else None
    path, mark, query = target.partition("?")
    query = mark + query
    if host is not None and not host.is_address:
        for domain in domains:
            if host.name == domain and not trustless:
                return _on_domain(f"{domain}{host.suffix}", path, query, scheme)
            if host.name != domain and host.name.endswith("." + domain):
                label = host.name.removesuffix("." + domain)
                return _on_subdomain(label, f"{domain}{host.suffix}", path, query, scheme)
        if host.name not in domains and re.search(r"\.ip[nf]s\.", host.name):
            return Nothing(404, "This node does not answer for that domain: it is not one of its gateway domains.")
        if host.name not in domains and is_domain(host.name):
            home = f"{scheme}://{next(iter(domains))}{host.suffix}/" if domains else "/"
            return NamePath(host.name, path, query, "", home, _on_address(path, query, trustless=trustless))
    return _on_address(path, query, trustless=trustless)


def _on_subdomain(label: str, domain: str, path: str, query: str, scheme: Scheme) -> Route:
    name, dot, namespace = label.rpartition(".")
    if not dot or namespace not in ("ipns", "ipfs") or ("." in name and namespace == "ipfs"):
        return _NOTHING_THERE
    home = f"{scheme}://{domain}/"
    if namespace == "ipfs":
        cid = parse_cid(name)
        if cid is None:
            return Nothing(400, "The first part of the address is not a CID of content.")
        if len(str(cid)) > LABEL_MAX_CHARS:
            return _LONG_CID
        if name != str(cid):
            return Redirect(f"{scheme}://{cid}.ipfs.{domain}{path}{query}")
        return _cid_path(cid, cid, path, query, base="", home=home)
    if is_domain(name):
        return NamePath(name, path, query, "", home, _NOTHING_THERE)
    found = _site(name)
    if found is None:
        other = Nothing(400, "The first part of the address is not a site id; those begin with k51.")
        own = uninline(name)
        return NamePath(own, path, query, "", home, other) if own is not None else other
    site, canonical = found
    if len(canonical) > LABEL_MAX_CHARS:
        return _LONG_CID
    if name != canonical:
        return Redirect(f"{scheme}://{canonical}.ipns.{domain}{path}{query}")
    return _site_path(site, canonical, path, query, base="", home=home)


def _on_domain(domain: str, path: str, query: str, scheme: Scheme) -> Route:
    name, rest = _split(path, "/ipfs/")
    if name is not None:
        cid = parse_cid(name)
        if cid is None:
            return _no_cid(name)
        if len(str(cid)) > LABEL_MAX_CHARS:
            return _LONG_CID
        return Redirect(f"{scheme}://{cid}.ipfs.{domain}{rest or '/'}{query}")
    name, rest = _split(path, "/ipns/")
    if name is None:
        return _of_uri(path, query) or NodePath(path)
    found = _site(name)
    if found is not None and len(found[1]) > LABEL_MAX_CHARS:
        return _LONG_CID
    if found is not None:
        return Redirect(f"{scheme}://{found[1]}.ipns.{domain}{rest or '/'}{query}")
    label = inline(name.lower()) if is_domain(name.lower()) else None
    return Redirect(f"{scheme}://{label}.ipns.{domain}{rest or '/'}{query}") if label is not None else _NO_SITE


def _on_address(path: str, query: str, *, trustless: bool) -> Route:
    name, rest = _split(path, "/ipfs/")
    if name is not None:
        cid = parse_cid(name)
        if cid is None:
            return _no_cid(name)
        return _cid_path(cid, Cid.from_text(name), rest, query, base=f"/ipfs/{name}", home="/")
    name, rest = _split(path, "/ipns/")
    if name is None:
        return _of_uri(path, query) or NodePath(path)
    found = _site(name)
    if found is None:
        own = name.lower()
        return NamePath(own, rest or "/", query, f"/ipns/{own}", "/", _NO_SITE) if is_domain(own) else _NO_SITE
    site, canonical = found
    base = f"/ipns/{canonical}"
    if not trustless and name != canonical:
        return Redirect(f"{base}{rest}{query}", 302)
    return _site_path(site, canonical, rest, query, base=base, home="/")


_NOTHING_THERE = Nothing(404, "There is nothing at this address. A site has the form SITE.ipns.DOMAIN.")
_NO_SITE = Nothing(400, "What follows /ipns/ is not a site id; those begin with k51.")
_LONG_CID = Nothing(400, "CID incompatible with DNS label length limit of 63.")


def _no_cid(name: str) -> Nothing:
    return Nothing(400, f'invalid path "/ipfs/{name[:100]}": what follows /ipfs/ is not a CID of content.')


def _of_uri(path: str, query: str) -> Redirect | None:
    """`/ipfs/?uri=ipfs://CID/path`, which is where a browser sends links that a gateway is registered for."""
    if path not in ("/ipfs/", "/ipns/") or "uri=" not in query:
        return None
    try:
        uri = parse_qs(query[1:], max_num_fields=_URI_FIELDS_MAX).get("uri", [""])[0]
    except ValueError:
        return None
    found = _URI.fullmatch(uri)
    return Redirect(f"/{found[1]}/{quote(found[2], safe=_PATH_SAFE + '/%?')}") if found is not None else None


def _split(path: str, prefix: str) -> tuple[str | None, str]:
    """(name, rest with its slash or "") of /ipns/name/rest or /ipfs/name/rest."""
    if not path.startswith(prefix):
        return None, path
    name, slash, rest = path.removeprefix(prefix).partition("/")
    return (name, slash + rest) if name else (None, path)


@functools.lru_cache(maxsize=1024)
def _site(name: str) -> tuple[Owner, str] | None:
    """The site, or whoever else has that name, in any form, and the one canonical name."""
    try:
        multihash = _name_of(name)
        canonical = ipns.name_text(multihash)
    except DecodeError:
        return None
    try:
        return SiteId.from_multihash(multihash), canonical
    except UnsupportedHash:
        return name_cid(multihash), canonical
    except DecodeError:
        return None


def _name_of(text: str) -> bytes:
    """The multihash of a name; a CID that has one under another codec counts, too, as subdomain gateways want it."""
    try:
        return ipns.name_of(text)
    except UnsupportedCodec:
        cid = Cid.from_text(text)
        if cid.hash_code not in (IDENTITY, SHA2_256):
            raise
        return cid.multihash


def name_cid(multihash: bytes) -> Cid:
    """The CID (codec libp2p-key) of a name, which is its Owner where the key is no site id."""
    return Cid(bytes((1, LIBP2P_KEY)) + multihash)


def owner_text(owner: Owner) -> str:
    """A name in its canonical form, or the root of a tree."""
    return ipns.name_text(owner.multihash) if isinstance(owner, Cid) and owner.codec == LIBP2P_KEY else str(owner)


def address_of(owner: Owner) -> str:
    """`/ipns/NAME` or `/ipfs/CID`."""
    return f"/{'ipns' if is_name(owner) else 'ipfs'}/{owner_text(owner)}"


def is_name(owner: Owner) -> bool:
    """Whether its address begins with /ipns/, not /ipfs/."""
    return isinstance(owner, SiteId) or owner.codec == LIBP2P_KEY


@functools.lru_cache(maxsize=1024)
def parse_cid(name: str) -> Cid | None:
    """The CID of content that the text stands for, in version 1."""
    try:
        cid = Cid.from_text(name)
    except DecodeError:
        return None
    if cid.codec == LIBP2P_KEY:
        return None
    return cid if cid.version else Cid(bytes((1, DAG_PB)) + cid)


def _cid_path(cid: Cid, given: Cid, path: str, query: str, *, base: str, home: str) -> CidPath | Nothing:
    segments = decode_segments(path)
    if len(segments) > PATH_SEGMENTS_MAX:
        return Nothing(404, "There is nothing at this address.")
    return CidPath(cid, given, segments, path.endswith("/"), query, base, home)


def _site_path(
    owner: Owner, name: str, path: str, query: str, *, base: str, home: str, inside: tuple[str, ...] = ()
) -> SitePath | Nothing:
    segments = decode_segments(path)
    if len(segments) > PATH_SEGMENTS_MAX:
        return Nothing(404, "There is nothing at this address.")
    return SitePath(owner, name, segments, path.endswith("/"), query, base, home, inside)


def decode_segments(path: str) -> tuple[str, ...]:
    """The names in a percent-encoded path; empty ones (doubled slashes) are left out. Raises BadRequest.

    No name can be "." or "..", hold a slash or a NUL, however they are encoded.
    """
    if _BAD_PERCENT.search(path):
        raise BadRequest(400, "a percent sign without two hexadecimal digits")
    segments = []
    for part in path.split("/"):
        if not part:
            continue
        try:
            name = unquote_to_bytes(part).decode("utf-8") if "%" in part else part
        except UnicodeDecodeError:
            raise BadRequest(400, "a path that is not UTF-8") from None
        if name in (".", "..") or "/" in name or "\0" in name:
            raise BadRequest(400, "a path with . or .. or an encoded slash or NUL")
        segments.append(name)
    return tuple(segments)


@functools.lru_cache(maxsize=1024)
def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True
