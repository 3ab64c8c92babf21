"""The keystore: names, records, one publish at a time."""

from __future__ import annotations

import base64
import json
import os
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cli.errors import CommandError, NoKey
from cli.publishing.keystore import KeyEntry, KeyRecord, Keystore, check_name
from config import KeyFileError
from config.keyfile import create_key, load_key
from protocol.release import Release, SignedRelease, sign_release
from protocol.site_id import SiteId
from tests.unit.cli.conftest import Fednode


def nobody(_: Path) -> None:
    return None


def release_of(key: Ed25519PrivateKey) -> SignedRelease:
    return sign_release(Release.end_of(SiteId.of(key), prev=None, created_s=1), key)


@pytest.fixture
def keystore(tmp_path: Path) -> Keystore:
    return Keystore(tmp_path / "keys")


def test_a_new_key_and_its_record(keystore: Keystore) -> None:
    entry = keystore.create("my.site", None)
    key = load_key(entry.path)
    assert stat.S_IMODE(keystore.folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(entry.record_path.stat().st_mode) == 0o600
    assert entry.record_path == keystore.folder / "my.site.json" != entry.path
    assert entry.record() == KeyRecord(SiteId.of(key))
    assert key.private_bytes_raw() not in entry.record_path.read_bytes()
    with pytest.raises(KeyFileError, match="there already"):
        keystore.create("my.site", None)


def test_a_name_whose_record_is_left_is_not_used_again(keystore: Keystore) -> None:
    entry = keystore.create("site", None)
    entry.path.unlink()
    with pytest.raises(KeyFileError, match="from a key that is gone"):
        keystore.create("site", None)


def test_records_are_replaced_whole(keystore: Keystore) -> None:
    entry = keystore.create("site", None)
    signed = release_of(load_key(entry.path))
    entry.save(KeyRecord(signed.site, signed))
    assert entry.record() == KeyRecord(signed.site, signed)
    assert sorted(path.name for path in keystore.folder.iterdir()) == ["site.json", "site.pem"]


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "{}", '{"version": 2}', '{"version": 1, "site": "k51", "release": null}', "\xff", "[" * 100_000],
)
def test_a_damaged_record_is_an_error_with_a_way_out(keystore: Keystore, text: str) -> None:
    entry = keystore.create("site", None)
    entry.record_path.write_bytes(text.encode("latin-1"))
    with pytest.raises(CommandError, match="damaged") as caught:
        entry.record()
    assert f"rm {entry.record_path}" in (caught.value.hint or "")


def test_a_record_with_a_release_of_another_site(keystore: Keystore) -> None:
    entry = keystore.create("site", None)
    value = json.loads(entry.record_path.read_text())
    other = release_of(Ed25519PrivateKey.generate())
    value["release"] = base64.b64encode(other.encode()).decode()
    entry.record_path.write_text(json.dumps(value))
    with pytest.raises(CommandError, match="damaged"):
        entry.record()


def test_which_key_is_used(keystore: Keystore) -> None:
    assert keystore.default() is None
    first = keystore.create("first", None)
    assert keystore.default() == first
    keystore.create("second", None)
    with pytest.raises(NoKey) as caught:
        keystore.default()
    assert caught.value.hint == "choose one with --key: first, second"
    default = keystore.create("default", None)
    assert keystore.default() == default
    assert keystore.entry("second").path == keystore.folder / "second.pem"
    with pytest.raises(NoKey, match="no key third"):
        keystore.entry("third")


def test_keys_elsewhere(keystore: Keystore, tmp_path: Path) -> None:
    path = tmp_path / "elsewhere.pem"
    key = create_key(path)
    entry = keystore.entry(str(path))
    assert entry.record() is None
    assert entry.open(nobody).private_bytes_raw() == key.private_bytes_raw()
    assert entry.record() == KeyRecord(SiteId.of(key))


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "-x", "a/b", "a b", "ü", "x" * 65, "a\n"])
def test_names_that_are_not_safe(name: str) -> None:
    with pytest.raises(CommandError, match="cannot be a key's name"):
        check_name(name)


def test_one_publish_at_a_time(keystore: Keystore) -> None:
    entry = keystore.create("site", None)
    with (
        entry.locked(),
        pytest.raises(CommandError, match="another fednode uses the key"),
        KeyEntry("site", entry.path).locked(),
    ):
        pass
    with entry.locked():
        pass


def test_the_site_of_a_locked_key_is_known_without_opening_it(keystore: Keystore) -> None:
    entry = keystore.create("site", "sésame")
    record = entry.record()
    assert record is not None
    assert entry.encrypted()
    assert entry.site(nobody) == record.site


def test_key_verbs(fednode: Fednode, home: Path) -> None:
    assert "no keys" in fednode("key", "list").out
    made = fednode("key", "new", "blog", "--json").json
    assert made["path"] == f"{home}/config/fednode/keys/blog.pem"
    assert (made["encrypted"], made["seq"], made["release"]) == (False, 0, None)
    again = fednode("key", "new", "blog")
    assert (again.code, "there already" in again.err) == (6, True)
    assert fednode("key", "list", "--json").json == {"keys": [made]}
    assert fednode("key", "show", "blog", "--json").json["site"] == made["site"]
    assert made["site"] in fednode("key", "show").out
    assert fednode("key", "show", "other").code == 6
    assert fednode("key", "new", "../x").code == 1


def test_a_passphrase_needs_somebody_to_type_it(fednode: Fednode, monkeypatch: pytest.MonkeyPatch) -> None:
    assert fednode("key", "new", "--passphrase").code == 6
    monkeypatch.setenv("FEDNODE_KEY_PASSPHRASE", "sésame")
    assert fednode("key", "new", "--json").json["encrypted"] is True


def test_loose_permissions_are_refused_with_a_hint(fednode: Fednode, home: Path, site_dir: Path) -> None:
    fednode("key", "new")
    path = home / "config/fednode/keys/default.pem"
    path.chmod(0o644)
    ran = fednode("bundle", site_dir, "-o", "site.car")
    assert ran.code == 6
    assert f"hint: chmod 600 {path}" in ran.err
    assert not os.path.exists("site.car")
