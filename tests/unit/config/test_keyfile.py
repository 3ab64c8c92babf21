"""Private keys on disk."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

from config import KeyFileError, KeyLocked, KeyMissing
from config.keyfile import create_key, is_encrypted, load_key, load_or_create_key


def test_a_new_key_is_private_and_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "site.pem"
    key = create_key(path)
    assert load_key(path).private_bytes_raw() == key.private_bytes_raw()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert path.read_bytes().startswith(b"-----BEGIN PRIVATE KEY-----")
    assert [entry.name for entry in path.parent.iterdir()] == ["site.pem"]


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "site.pem"
    create_key(path)
    before = path.read_bytes()
    with pytest.raises(KeyFileError, match="never overwritten"):
        create_key(path)
    assert path.read_bytes() == before
    assert load_or_create_key(path).private_bytes_raw() == load_key(path).private_bytes_raw()


def test_passphrases(tmp_path: Path) -> None:
    path = tmp_path / "site.pem"
    key = create_key(path, "sésame")
    assert is_encrypted(path)
    assert load_key(path, "sésame").private_bytes_raw() == key.private_bytes_raw()
    with pytest.raises(KeyLocked, match="wrong passphrase"):
        load_key(path, "other")
    with pytest.raises(KeyLocked, match="needs a passphrase") as caught:
        load_key(path)
    assert "FEDNODE_KEY_PASSPHRASE" in (caught.value.hint or "")
    assert str(key.private_bytes_raw()) not in str(caught.value)


def test_a_passphrase_for_an_open_key_does_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "site.pem"
    create_key(path)
    load_key(path, "whatever")


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660])
def test_loose_permissions_are_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "site.pem"
    create_key(path)
    path.chmod(mode)
    with pytest.raises(KeyFileError, match="others can read") as caught:
        load_key(path)
    assert caught.value.hint == f"chmod 600 {path}"
    path.chmod(0o400)
    load_key(path)


def test_missing_and_foreign_keys(tmp_path: Path) -> None:
    with pytest.raises(KeyMissing):
        load_key(tmp_path / "none.pem")
    path = tmp_path / "other.pem"
    path.write_text("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    path.chmod(0o600)
    with pytest.raises(KeyFileError, match="PKCS8"):
        load_key(path)
    path.write_bytes(
        generate_private_key(SECP256R1()).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    with pytest.raises(KeyFileError, match="not an Ed25519 key"):
        load_key(path)
    with pytest.raises(KeyFileError, match="cannot read"):
        load_key(tmp_path)
