"""Addresses of nodes in DNS: TXT records at a seed's name and, as libp2p's dnsaddr has them, at `_dnsaddr.NAME`. Pure.

https://github.com/multiformats/multiaddr/blob/master/protocols/DNSADDR.md; docs/spec/membership.md, 11.
"""

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from protocol.dnslink import is_domain

RECORDS_AT: Final = "_dnsaddr."
RECURSION_MAX: Final = 4  # names that lead to other names; libp2p's own have one
TEXT_MAX_CHARS: Final = 512  # of one record; an address of a node has some 100

_PREFIXES: Final = ("dnsaddr=", "fednode=")
_ADDRESS: Final = re.compile(r"(?:/[\x21-\x2e\x30-\x7e]+)+")


class Further(NamedTuple):
    """`/dnsaddr/NAME[/p2p/ID]`: what is found under the name, and ends so."""

    name: str
    ending: str


def read_records(texts: Iterable[str]) -> list[str]:
    """The multiaddrs that TXT records name, in alphabetical order; whatever else stands there is left out."""
    found = set()
    for text in texts:
        address = next((text.removeprefix(prefix) for prefix in _PREFIXES if text.startswith(prefix)), "")
        if len(text) <= TEXT_MAX_CHARS and _ADDRESS.fullmatch(address):
            found.add(address)
    return sorted(found)


def further(address: str) -> Further | None:
    """Where the address leads in DNS, if it does; None for that of a node, and for names that are none."""
    parts = address.split("/")
    if parts[:2] != ["", "dnsaddr"] or len(parts) < 3:
        return None
    name = parts[2].lower().removesuffix(".")
    return Further(name, "/".join(["", *parts[3:]]) if len(parts) > 3 else "") if is_domain(name) else None
