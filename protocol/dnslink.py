"""DNSLink: which site a domain names. https://dnslink.dev; docs/spec/gateway.md, 11. Pure."""

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from protocol.errors import DecodeError
from protocol.limits import DOMAIN_MAX_CHARS
from protocol.site_id import SiteId

PREFIX: Final = "dnslink="
RECORDS_AT: Final = "_dnslink."
RECURSION_MAX: Final = 32  # names that lead to other names; DNSLink and the IPFS gateway specification
TEXT_MAX_CHARS: Final = 2048  # of one record; a path of a site is shorter

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)


class Link(NamedTuple):
    """What a domain names: a site, or another domain. A path behind it is not followed: a domain is a whole site."""

    site: SiteId | None
    domain: str | None


def is_domain(name: str) -> bool:
    """A DNS name of two labels or more, in lower case and without a final dot."""
    labels = name.split(".")
    return (
        len(name) <= DOMAIN_MAX_CHARS
        and len(labels) > 1
        and all(_LABEL.fullmatch(label) for label in labels)
        and labels[-1][0].isalpha()  # as a release has it; numbers are addresses
    )


def read_records(texts: Iterable[str]) -> Link | None:
    """What the TXT records at `_dnslink.NAME` say: the first in alphabetical order that names something counts."""
    for text in sorted(text for text in texts if text.startswith(PREFIX) and len(text) <= TEXT_MAX_CHARS):
        parts = text.removeprefix(PREFIX).rstrip("/").split("/")
        if len(parts) != 3 or parts[0] or parts[1] != "ipns":
            continue
        try:
            return Link(SiteId.from_text(parts[2]), None)
        except DecodeError:
            name = parts[2].lower().removesuffix(".")
            if is_domain(name):
                return Link(None, name)
    return None


def inline(name: str) -> str | None:
    """The domain as one label, as subdomain gateways write it; None if it is too long for one."""
    label = name.replace("-", "--").replace(".", "-")
    return label if len(label) <= 63 else None


def uninline(label: str) -> str | None:
    """The domain that a label stands for; None for none."""
    name = "-".join(part.replace("-", ".") for part in label.split("--"))
    return name if is_domain(name) and inline(name) == label else None
