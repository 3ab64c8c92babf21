"""Asks DNS for the TXT records of a name; the only place that imports dnspython."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import dns.asyncresolver
import dns.exception
import dns.message
import dns.name
import dns.nameserver
import dns.rdatatype
import dns.resolver

from config.addresses import parse_host_port

ANSWER_S = 5.0  # for all servers and tries together

log = logging.getLogger(__name__)


class NoAnswer(Exception):
    """No server said whether there are records."""


@dataclass(frozen=True, slots=True)
class Texts:
    """TXT records, none if there are none, and how long that may be believed (None: the servers did not say)."""

    texts: tuple[str, ...]
    ttl_s: int | None


class Dns(Protocol):
    """Whom to ask."""

    async def texts(self, name: str) -> Texts:
        """The TXT records of a name. Raises NoAnswer."""
        ...


class DnsClient:
    """servers: "host:port"; none: those of /etc/resolv.conf."""

    def __init__(self, servers: Sequence[str]) -> None:
        self._resolver: dns.asyncresolver.Resolver | None = None
        self._servers = tuple(servers)

    async def texts(self, name: str) -> Texts:
        try:
            answer = await self._open().resolve(dns.name.from_text(name), "TXT", search=False)
        except dns.resolver.NXDOMAIN as error:
            responses = error.kwargs.get("responses")
            found = list(responses.values()) if isinstance(responses, dict) else []
            return Texts((), _negative_ttl_s(found[-1] if found else None))
        except dns.resolver.NoAnswer as error:
            return Texts((), _negative_ttl_s(error.kwargs.get("response")))
        except (dns.exception.DNSException, OSError, ValueError) as error:
            log.info("DNS does not answer for %s: %s", name, type(error).__name__)
            raise NoAnswer(f"DNS did not answer for {name}") from error
        texts = [b"".join(row.strings).decode("utf-8", "replace") for row in answer]
        return Texts(tuple(texts), int(answer.rrset.ttl) if answer.rrset is not None else None)

    def _open(self) -> dns.asyncresolver.Resolver:
        if self._resolver is None:
            if self._servers:
                self._resolver = dns.asyncresolver.Resolver(configure=False)
                found = [parse_host_port(server) for server in self._servers]
                self._resolver.nameservers = [dns.nameserver.Do53Nameserver(at.host, at.port) for at in found]
            else:
                self._resolver = dns.asyncresolver.Resolver()
            self._resolver.lifetime = ANSWER_S
        return self._resolver


def _negative_ttl_s(response: object) -> int | None:
    """RFC 2308, 5: the lesser of the SOA's own TTL and its last field."""
    if not isinstance(response, dns.message.Message):
        return None
    for rrset in response.authority:
        if rrset.rdtype == dns.rdatatype.SOA:
            return min(int(rrset.ttl), int(rrset[0].minimum))
    return None
