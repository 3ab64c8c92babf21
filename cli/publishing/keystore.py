"""The publisher's keys: NAME.pem in the keystore, and beside each a NAME.json with what was signed last.

The record is written before a release is sent anywhere: two different releases under one sequence number
would let hosts disagree for good about which is the head.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cli.errors import CommandError, NoKey
from config.errors import KeyFileError
from config.keyfile import create_key, is_encrypted, load_key
from config.load import keys_dir
from protocol.errors import DecodeError
from protocol.release import SignedRelease
from protocol.site_id import SiteId

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

DEFAULT_NAME = "default"
RECORD_MAX_BYTES = 64 * 1024  # a release in base64 takes under 6 KiB
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")

AskPassphrase = Callable[[Path], str | None]
"""Asks a person for the passphrase of a key file; None when nobody can be asked."""


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """What the keystore knows of a key without opening it. `last` is the newest release that it signed here."""

    site: SiteId
    last: SignedRelease | None = None


@dataclass(frozen=True, slots=True)
class KeyEntry:
    """One key: `name` is its name in the keystore, or the path of a key elsewhere."""

    name: str
    path: Path

    @property
    def record_path(self) -> Path:
        return self.path.with_suffix(".json")

    def record(self) -> KeyRecord | None:
        """None when there is none yet; CommandError if the file is damaged."""
        try:
            raw = self.record_path.read_bytes()[: RECORD_MAX_BYTES + 1]
        except FileNotFoundError:
            return None
        except OSError as error:
            raise CommandError(f"cannot read {self.record_path}: {error.strerror}") from error
        try:
            return _decode_record(raw)
        except (ValueError, KeyError, TypeError, DecodeError, RecursionError) as error:
            raise CommandError(
                f"{self.record_path} is damaged: {error}",
                hint=f"remove it; the sequence then comes from the nodes (or --seq): rm {self.record_path}",
            ) from error

    def save(self, record: KeyRecord) -> None:
        """Durable when this returns."""
        value = {
            "version": 1,
            "site": str(record.site),
            "seq": record.last.seq if record.last else 0,
            "release": base64.b64encode(record.last.encode()).decode() if record.last else None,
        }
        temporary = self.record_path.with_name(f".{self.record_path.name}.{secrets.token_hex(6)}.tmp")
        try:
            with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as handle:
                json.dump(value, handle, indent=2)
                handle.write("\n")
                handle.flush()
                os.fsync(handle.fileno())
            temporary.replace(self.record_path)
        except OSError as error:
            raise CommandError(f"cannot write {self.record_path}: {error.strerror}") from error
        finally:
            temporary.unlink(missing_ok=True)

    def encrypted(self) -> bool:
        return is_encrypted(self.path)

    def open(self, ask: AskPassphrase) -> Ed25519PrivateKey:
        """The private key: passphrase from FEDNODE_KEY_PASSPHRASE or from a person. KeyFileError."""
        passphrase = None
        if self.encrypted():
            passphrase = os.environ.get("FEDNODE_KEY_PASSPHRASE") or ask(self.path)
        key = load_key(self.path, passphrase)
        if self.record() is None:
            self._remember_site(SiteId.of(key))
        return key

    def _remember_site(self, site: SiteId) -> None:
        try:
            self.save(KeyRecord(site))
        except CommandError:  # a key on a read-only medium still signs; the nodes know its sequence
            return

    def site(self, ask: AskPassphrase) -> SiteId:
        """The site id, from the record if there is one, so that no passphrase is needed."""
        record = self.record()
        return record.site if record else SiteId.of(self.open(ask))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Only one publish with a key at a time: each takes the next sequence number."""
        descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise CommandError(
                    f"another fednode uses the key {self.name} at this moment", hint="wait until it is done"
                ) from None
            yield
        finally:
            os.close(descriptor)


def _decode_record(raw: bytes) -> KeyRecord:
    value = json.loads(raw.decode("utf-8"))
    if value["version"] != 1:
        raise ValueError(f"version {value['version']!r} is unknown")
    site = SiteId.from_text(value["site"])
    if value["release"] is None:
        return KeyRecord(site)
    return KeyRecord(site, SignedRelease.decode(base64.b64decode(value["release"], validate=True), site=site))


class Keystore:
    """The folder of keys."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or keys_dir()

    def entry(self, name_or_file: str) -> KeyEntry:
        """A key by its name, or by its file when it has a slash or ends in .pem. NoKey if it is not there."""
        if "/" in name_or_file or name_or_file.endswith(".pem"):
            entry = KeyEntry(name_or_file, Path(name_or_file).expanduser())
        else:
            entry = KeyEntry(name_or_file, self.folder / f"{check_name(name_or_file)}.pem")
        if not entry.path.exists():
            known = ", ".join(found.name for found in self.entries())
            hint = f"there are: {known}" if known else f"fednode key new {name_or_file}"
            raise NoKey(f"no key {name_or_file} ({entry.path})", hint=hint)
        return entry

    def entries(self) -> list[KeyEntry]:
        """All keys, by name."""
        try:
            found = sorted(path for path in self.folder.iterdir() if path.suffix == ".pem")
        except FileNotFoundError:
            return []
        except OSError as error:
            raise KeyFileError(f"cannot read {self.folder}: {error.strerror}") from error
        return [KeyEntry(path.stem, path) for path in found if _NAME.fullmatch(path.stem)]

    def default(self) -> KeyEntry | None:
        """The key to use when none is named: the only one, or the one called `default`; None if there is none."""
        entries = self.entries()
        if len(entries) <= 1:
            return entries[0] if entries else None
        for entry in entries:
            if entry.name == DEFAULT_NAME:
                return entry
        raise NoKey(
            f"there are {len(entries)} keys and none is called {DEFAULT_NAME}",
            hint="choose one with --key: " + ", ".join(entry.name for entry in entries),
        )

    def create(self, name: str, passphrase: str | None) -> KeyEntry:
        """A new key; KeyFileError if the name is taken."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        entry = KeyEntry(name, self.folder / f"{check_name(name)}.pem")
        if entry.record_path.exists():
            raise KeyFileError(
                f"{entry.record_path} is there already, from a key that is gone", hint="choose another name"
            )
        key = create_key(entry.path, passphrase)
        entry.save(KeyRecord(SiteId.of(key)))
        return entry


def check_name(name: str) -> str:
    """A key's name, safe as a file name. CommandError."""
    if not _NAME.fullmatch(name):
        raise CommandError(
            f"{name!r} cannot be a key's name",
            hint="1 to 64 letters, digits, '.', '_', '-', not beginning with '.' or '-'",
        )
    return name
