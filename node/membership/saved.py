"""The statements that a node knows, in a file: after a restart it knows whom to ask, without any bootstrap node."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from protocol.errors import DecodeError
from protocol.limits import STATEMENT_MAX_BYTES
from protocol.statement import SignedStatement

_LENGTH_BYTES = 4
# Some 20,000 members with 1,000 sites each; what is beyond is learned again.
FILE_MAX_BYTES = 96 * 1024 * 1024

log = logging.getLogger(__name__)


def save(path: Path, statements: Iterable[SignedStatement]) -> None:
    """Replaces the file. A loss costs an exchange with a peer, so nothing is synced."""
    fresh = path.with_suffix(".new")
    size = 0
    try:
        with open(fresh, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            for signed in statements:
                raw = signed.encode()
                size += _LENGTH_BYTES + len(raw)
                if size > FILE_MAX_BYTES:
                    break
                file.write(len(raw).to_bytes(_LENGTH_BYTES, "big") + raw)
        fresh.replace(path)
    except OSError as error:
        log.warning("cannot write %s: %s", path, error)
        with suppress(OSError):  # on a full disk, give back what was written
            fresh.unlink()


def load(path: Path) -> list[SignedStatement]:
    """What can be read of it; a file that is damaged from some point on is read up to there."""
    try:
        with open(path, "rb") as file:
            raw = file.read(FILE_MAX_BYTES)
    except FileNotFoundError:
        return []
    except OSError as error:
        log.warning("cannot read %s: %s", path, error)
        return []
    found: list[SignedStatement] = []
    at = 0
    while at < len(raw):
        size = int.from_bytes(raw[at : at + _LENGTH_BYTES], "big")
        body = raw[at + _LENGTH_BYTES : at + _LENGTH_BYTES + size]
        try:
            if size > STATEMENT_MAX_BYTES:
                raise DecodeError("an impossible length")
            found.append(SignedStatement.decode(body))
        except DecodeError as error:
            log.warning("%s is damaged at byte %d: %s", path, at, error)
            break
        at += _LENGTH_BYTES + size
    return found
