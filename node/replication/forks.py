"""Proofs that a site's key signed two releases of one sequence, one file a site (docs/spec/release.md, 5)."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from protocol.errors import DecodeError
from protocol.limits import RELEASE_MAX_BYTES
from protocol.release import SignedRelease
from protocol.site_id import SiteId

# Whoever has a key can make a fork; one file of some 2 KB each.
FORKS_MAX = 1000

_LENGTH_BYTES = 4

log = logging.getLogger(__name__)


class Forks:
    """The first pair of each site is kept, for good; beyond `FORKS_MAX` sites, none more."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, first: SignedRelease, second: SignedRelease) -> None:
        """Never raises for the disk: a proof that is lost is found again with the next release that contradicts."""
        log.warning("the key of %s signed two releases of number %d", first.site, first.seq)
        path = self._path(first.site)
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            if path.exists() or len(os.listdir(self._folder)) >= FORKS_MAX:
                return
            part = path.with_suffix(".part")
            part.write_bytes(b"".join(_framed(signed) for signed in (first, second)))
            part.replace(path)
        except OSError as error:
            log.warning("cannot keep the proof: %s", error)

    def load(self, site: SiteId) -> tuple[SignedRelease, SignedRelease] | None:
        """Both releases, checked; None when there is no proof."""
        try:
            raw = self._path(site).read_bytes()[: 2 * (_LENGTH_BYTES + RELEASE_MAX_BYTES)]
            size = int.from_bytes(raw[:_LENGTH_BYTES], "big")
            first = SignedRelease.decode(raw[_LENGTH_BYTES : _LENGTH_BYTES + size])
            second = SignedRelease.decode(raw[2 * _LENGTH_BYTES + size :])
        except (OSError, DecodeError):
            return None
        return (first, second) if first.contradicts(second) and first.site == site == second.site else None

    def sites(self) -> list[SiteId]:
        """Those with a proof."""
        try:
            return sorted(SiteId.from_text(path.stem) for path in self._folder.glob("*.fork"))
        except (OSError, DecodeError):
            return []

    def _path(self, site: SiteId) -> Path:
        return self._folder / f"{site}.fork"


def _framed(signed: SignedRelease) -> bytes:
    raw = signed.encode()
    return len(raw).to_bytes(_LENGTH_BYTES, "big") + raw
