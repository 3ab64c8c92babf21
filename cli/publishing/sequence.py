"""Which release comes next: from what the keystore and the nodes know of a site."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

from cli.errors import CommandError
from cli.publishing.source import BlockSource
from node.net.addresses import Address
from node.net.port import BadAddress
from protocol.dnslink import is_domain
from protocol.limits import DOMAINS_MAX, HOST_ADDRESS_MAX_CHARS, HOSTS_NAMED_MAX, SEQ_MAX
from protocol.release import DEFAULT_BAND, Band, Release, SignedRelease
from protocol.site_id import SiteId


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the publisher asks for: at least this sequence number, this replica band, a new release in any case.

    domains: under which the site may be served, instead of those of the last release; None: those.
    hosts: addresses at which it may be found; likewise.
    """

    seq: int | None = None
    min_hosts: int | None = None
    max_hosts: int | None = None
    force: bool = False
    domains: tuple[str, ...] | None = None
    hosts: tuple[str, ...] | None = None


def newest(releases: Iterable[SignedRelease | None]) -> SignedRelease | None:
    """The one with the highest sequence."""
    return max((signed for signed in releases if signed is not None), key=lambda signed: signed.seq, default=None)


def band_of(last: SignedRelease | None, wishes: Wishes) -> Band:
    """The wish, else what the last release had, else the default. CommandError if it makes no sense."""
    base = last.release.band if last is not None else DEFAULT_BAND
    low = wishes.min_hosts if wishes.min_hosts is not None else base.min_hosts
    high = wishes.max_hosts if wishes.max_hosts is not None else base.max_hosts
    if wishes.min_hosts is not None and wishes.max_hosts is None:
        high = max(low, high)
    if wishes.max_hosts is not None and wishes.min_hosts is None:
        low = min(low, high)
    if low > high:
        raise CommandError(f"--min-hosts {low} is more than --max-hosts {high}")
    return Band(low, high)


def domains_of(last: SignedRelease | None, wishes: Wishes) -> tuple[str, ...]:
    """The wish, else what the last release had. CommandError for names that no release can have."""
    if wishes.domains is None:
        return last.release.domains if last is not None else ()
    names = sorted({name.lower().removesuffix(".") for name in wishes.domains})
    for name in names:
        if not is_domain(name):
            raise CommandError(
                f"{name!r} is not a domain name", hint="names in other scripts are written as xn--… (punycode)"
            )
    if len(names) > DOMAINS_MAX:
        raise CommandError(f"a release can have {DOMAINS_MAX} domains, not {len(names)}")
    return tuple(names)


def hosts_of(last: SignedRelease | None, wishes: Wishes) -> tuple[str, ...]:
    """The wish, else what the last release had. CommandError for what is no address of a node."""
    if wishes.hosts is None:
        return last.release.hosts if last is not None else ()
    for text in wishes.hosts:
        try:
            address = Address.parse(text)
        except BadAddress as error:
            raise CommandError(str(error), hint=error.hint) from None
        if address.peer is None or len(text) > HOST_ADDRESS_MAX_CHARS:
            raise CommandError(
                f"{text!r} cannot be named as a host",
                hint=f"write /dns4/NAME/tcp/PORT/p2p/ID with at most {HOST_ADDRESS_MAX_CHARS} characters; "
                "`fednode status` on the host shows it",
            )
    names = sorted(set(wishes.hosts))
    if len(names) > HOSTS_NAMED_MAX:
        raise CommandError(f"a release can name {HOSTS_NAMED_MAX} hosts, not {len(names)}")
    return tuple(names)


def unchanged(last: SignedRelease | None, source: BlockSource, wishes: Wishes) -> bool:
    """Whether the last release says already what a new one would say."""
    return (
        last is not None
        and last.release.root == source.root
        and last.release.band == band_of(last, wishes)
        and last.release.domains == domains_of(last, wishes)
        and last.release.hosts == hosts_of(last, wishes)
        and not wishes.force
        and (wishes.seq is None or wishes.seq <= last.seq)
    )


def next_release(site: SiteId, last: SignedRelease | None, source: BlockSource, wishes: Wishes) -> Release:
    """The release to sign for these blocks. CommandError if the site has ended."""
    _refuse_ended(site, last)
    return Release(
        site=site,
        seq=_next_seq(last, wishes.seq),
        prev=last.cid if last is not None else None,
        root=source.root,
        size_bytes=source.size_bytes,
        block_count=source.block_count,
        band=band_of(last, wishes),
        domains=domains_of(last, wishes),
        created_s=int(time.time()),
        hosts=hosts_of(last, wishes),
    )


def next_end(site: SiteId, last: SignedRelease | None) -> Release:
    """The release that ends a site."""
    return Release.end_of(site, prev=last.cid if last is not None else None, created_s=int(time.time()))


def _refuse_ended(site: SiteId, last: SignedRelease | None) -> None:
    if last is not None and last.release.ended:
        raise CommandError(
            f"{site} was ended by its key and cannot be published again",
            hint="a new site needs a new key: fednode key new",
        )


def _next_seq(last: SignedRelease | None, least: int | None) -> int:
    known = last.seq if last is not None else 0
    if least is not None and least <= known:
        raise CommandError(f"--seq {least} is not above release {known}, which is known already")
    seq = max(known + 1, least or 0)
    if seq >= SEQ_MAX:  # the highest number is the end's
        raise CommandError(f"there is no sequence number after {known}")
    return seq
