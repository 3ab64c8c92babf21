"""Choosing and opening a site key, with questions when there is somebody to ask."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.common import on_terminal
from cli.errors import NoKey
from cli.publishing.keystore import DEFAULT_NAME, KeyEntry, Keystore

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


def ask_passphrase(path: Path) -> str | None:
    """From a person; None when there is none."""
    if not on_terminal():
        return None
    answer: str = click.prompt(f"passphrase for {path}", hide_input=True, err=True)
    return answer


def new_passphrase(*, wanted: bool) -> str | None:
    """For a new key: from FEDNODE_KEY_PASSPHRASE or, if wanted, from a person; None for a key without one."""
    if given := os.environ.get("FEDNODE_KEY_PASSPHRASE"):
        return given
    if not wanted:
        return None
    if not on_terminal():
        raise NoKey("a passphrase was asked for and nobody can type one", hint="set FEDNODE_KEY_PASSPHRASE")
    answer: str = click.prompt("passphrase for the new key", hide_input=True, confirmation_prompt=True, err=True)
    return answer


def choose_key(name_or_file: str | None, *, may_create: bool) -> KeyEntry:
    """The named key, or the only or default one; offers to make the first one. NoKey."""
    keystore = Keystore()
    if name_or_file is not None:
        return keystore.entry(name_or_file)
    entry = keystore.default()
    if entry is not None:
        return entry
    missing = NoKey(f"there is no key in {keystore.folder}", hint="fednode key new makes one (or name one with --key)")
    if not (may_create and on_terminal()):
        raise missing
    click.echo("You have no site key yet. Only who has the key can publish and end the site.", err=True)
    if not click.confirm("Make one now?", default=True, err=True):
        raise missing
    entry = keystore.create(DEFAULT_NAME, new_passphrase(wanted=False))
    click.echo(f"made {entry.path}; keep a copy in a safe place", err=True)
    return entry


def open_key(entry: KeyEntry) -> Ed25519PrivateKey:
    """The private key, asking for its passphrase if need be. KeyFileError."""
    return entry.open(ask_passphrase)
