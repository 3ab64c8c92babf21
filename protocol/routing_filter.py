"""What a delegated routing client wants to hear of (IPIP-484): `filter-addrs` and `filter-protocols` of a query."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qs

from protocol.errors import OverLimit

UNKNOWN: Final = "unknown"
NAME_MAX_CHARS: Final = 63
NAMES_MAX: Final = 64
_FIELDS_MAX: Final = 16
# Of the protocols of multiaddrs, those that are followed by a value.
_WITH_VALUE: Final = frozenset(
    (
        *("ip4", "ip6", "ip6zone", "ipcidr", "dns", "dns4", "dns6", "dnsaddr", "tcp", "udp", "dccp", "sctp"),
        *("p2p", "sni", "certhash", "http-path", "onion", "onion3", "unix"),
    )
)


@dataclass(frozen=True, slots=True)
class NameFilter:
    """Names that are wanted, one of them is enough, and names that must not be there. Nothing: everything passes."""

    wanted: frozenset[str] = frozenset()
    unwanted: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, values: Sequence[str]) -> NameFilter:
        """Of the values of a parameter, each a list with commas. Raises OverLimit."""
        names = [name.strip().lower() for value in values for name in value.split(",") if name.strip()]
        if len(names) > NAMES_MAX or any(len(name) > NAME_MAX_CHARS + 1 for name in names):
            raise OverLimit(
                f"a filter of more than {NAMES_MAX} names, or with one of more than {NAME_MAX_CHARS} letters"
            )
        return cls(
            frozenset(name for name in names if not name.startswith("!")),
            frozenset(name[1:] for name in names if name.startswith("!")),
        )

    @property
    def is_empty(self) -> bool:
        return not (self.wanted or self.unwanted)

    @property
    def takes_unknown(self) -> bool:
        """What says nothing of the matter passes; it has none of the unwanted names, but none of the wanted either."""
        return UNKNOWN in self.wanted or self.is_empty

    def passes(self, names: Iterable[str]) -> bool:
        """Of something that has these names."""
        found = {name.lower() for name in names}
        return not found & self.unwanted and (not self.wanted or bool(found & self.wanted))


@dataclass(frozen=True, slots=True)
class RoutingFilter:
    """Both filters of one request."""

    addresses: NameFilter = NameFilter()
    protocols: NameFilter = NameFilter()

    @classmethod
    def parse(cls, query: str) -> RoutingFilter:
        """Of a URL's query, without the question mark. Raises OverLimit."""
        try:
            fields = parse_qs(query, max_num_fields=_FIELDS_MAX)
        except ValueError:
            raise OverLimit(f"more than {_FIELDS_MAX} parameters") from None
        return cls(
            NameFilter.parse(fields.get("filter-addrs", ())), NameFilter.parse(fields.get("filter-protocols", ()))
        )

    def apply(self, addresses: Sequence[str], protocols: Sequence[str]) -> list[str] | None:
        """Those of a peer's addresses (multiaddrs) that are wanted; None for a peer that is not."""
        if not (self.protocols.passes(protocols) if protocols else self.protocols.takes_unknown):
            return None
        if not addresses:
            return [] if self.addresses.takes_unknown else None
        return [each for each in addresses if self.addresses.passes(protocols_of(each))] or None


def protocols_of(address: str) -> list[str]:
    """The names of the protocols in a multiaddr, in their order."""
    parts = address.strip("/").split("/")
    names = []
    while parts:
        name = parts.pop(0).lower()
        names.append(name)
        if name in _WITH_VALUE:
            del parts[:1]
    return names
