"""Private keys on disk: Ed25519 as PKCS8 PEM, mode 0600, optionally encrypted with a passphrase."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from config.errors import KeyFileError, KeyLocked, KeyMissing

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

KEY_FILE_MAX_BYTES = 16 * 1024  # an encrypted Ed25519 key in PEM is under 1 KiB


def load_key(path: Path, passphrase: str | None = None) -> Ed25519PrivateKey:
    """The key at `path`. KeyMissing, KeyLocked (passphrase missing or wrong), or KeyFileError."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    raw = _read_private(path)
    encrypted = b"ENCRYPTED" in raw
    if encrypted and not passphrase:
        raise KeyLocked(f"{path} needs a passphrase", hint="set FEDNODE_KEY_PASSPHRASE, or run it on a terminal")
    try:
        key = load_pem_private_key(raw, passphrase.encode() if encrypted and passphrase else None)
    except Exception as error:  # the library's parser raises several unrelated types
        if encrypted:
            raise KeyLocked(f"wrong passphrase for {path}") from error
        raise KeyFileError(f"{path} is not a private key in PKCS8 PEM form") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyFileError(f"{path} is not an Ed25519 key", hint="fednode key new makes one")
    return key


def is_encrypted(path: Path) -> bool:
    """Whether the key at `path` needs a passphrase."""
    return b"ENCRYPTED" in _read_private(path)


def create_key(path: Path, passphrase: str | None = None) -> Ed25519PrivateKey:
    """A new key at `path`, durable when this returns; never replaces a file. Makes its folder if need be."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase:
        encryption = serialization.BestAvailableEncryption(passphrase.encode())
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as handle:
            handle.write(pem)
            handle.flush()
            os.fsync(handle.fileno())
        os.link(temporary, path)
        _sync_dir(path.parent)
    except FileExistsError:
        raise KeyFileError(f"{path} is there already; a key is never overwritten", hint="choose another name") from None
    finally:
        temporary.unlink(missing_ok=True)
    return key


def load_or_create_key(path: Path) -> Ed25519PrivateKey:
    """The node's own key (never encrypted: the daemon starts unattended), made on first use."""
    try:
        return load_key(path)
    except KeyMissing:
        return create_key(path)


def _read_private(path: Path) -> bytes:
    try:
        with path.open("rb") as handle:
            status = os.fstat(handle.fileno())
            if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                mode = stat.S_IMODE(status.st_mode)
                raise KeyFileError(
                    f"others can read {path} (mode {mode:04o}); it is not used", hint=f"chmod 600 {path}"
                )
            return handle.read(KEY_FILE_MAX_BYTES)
    except FileNotFoundError:
        raise KeyMissing(f"no key at {path}") from None
    except OSError as error:
        raise KeyFileError(f"cannot read {path}: {error.strerror}") from error


def _sync_dir(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
