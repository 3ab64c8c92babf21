"""DNSLink: what a domain names. https://dnslink.dev; docs/spec/gateway.md, 11. Pure."""

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from protocol import ipns
from protocol.cid import LIBP2P_KEY, Cid
from protocol.errors import DecodeError, UnsupportedHash
from protocol.limits import DOMAIN_MAX_CHARS, PATH_MAX_SEGMENTS
from protocol.site_id import SiteId

PREFIX: Final = "dnslink="
RECORDS_AT: Final = "_dnslink."
RECURSION_MAX: Final = 32  # names that lead to other names; DNSLink and the IPFS gateway specification
TEXT_MAX_CHARS: Final = 2048  # of one record; a path of a site is shorter

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)


class Link(NamedTuple):
    """What a domain names: one of a site, another domain, the IPNS name (a multihash) of another kind of key, a CID.

    path: of the place below it that the domain stands for, as names.
    """

    site: SiteId | None = None
    domain: str | None = None
    name: bytes | None = None
    cid: Cid | None = None
    path: tuple[str, ...] = ()


def is_domain(name: str) -> bool:
    """A DNS name of two labels or more, in lower case and without a final dot."""
    labels = name.split(".")
    return (
        len(name) <= DOMAIN_MAX_CHARS
        and len(labels) > 1
        and all(_LABEL.fullmatch(label) for label in labels)
        and labels[-1][0].isalpha()  # as a release has it; numbers are addresses
    )


def read_records(texts: Iterable[str], *, sites_only: bool = False) -> Link | None:
    """What the TXT records at `_dnslink.NAME` say: the first in alphabetical order that names something counts.

    sites_only: what is neither a whole site nor a whole domain counts for nothing.
    """
    for text in sorted(text for text in texts if text.startswith(PREFIX) and len(text) <= TEXT_MAX_CHARS):
        link = read_path(text.removeprefix(PREFIX))
        if link is not None and not (sites_only and (link.path or link.cid or link.name)):
            return link
    return None


def read_path(text: str) -> Link | None:
    """What `/ipns/NAME/path` or `/ipfs/CID/path` names: the value of a record, in DNS or in IPNS."""
    parts = text.rstrip("/").split("/")
    if len(parts) < 3:
        return None
    root, namespace, name, *path = parts
    if root or namespace not in ("ipns", "ipfs") or len(path) > PATH_MAX_SEGMENTS or {"", ".", ".."} & set(path):
        return None
    try:
        if namespace == "ipfs":
            cid = Cid.from_text(name)
            return Link(cid=cid, path=tuple(path)) if cid.codec != LIBP2P_KEY else None
        multihash = ipns.name_of(name)
    except DecodeError:
        domain = name.lower().removesuffix(".")
        return Link(domain=domain, path=tuple(path)) if namespace == "ipns" and is_domain(domain) else None
    try:
        return Link(SiteId.from_multihash(multihash), path=tuple(path))
    except UnsupportedHash:
        return Link(name=multihash, path=tuple(path))
    except DecodeError:
        return None


def inline(name: str) -> str | None:
    """The domain as one label, as subdomain gateways write it; None if it is too long for one."""
    label = name.replace("-", "--").replace(".", "-")
    return label if len(label) <= 63 else None


def uninline(label: str) -> str | None:
    """The domain that a label stands for; None for none."""
    name = "-".join(part.replace("-", ".") for part in label.split("--"))
    return name if is_domain(name) and inline(name) == label else None
