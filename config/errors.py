"""What goes wrong with configuration and key files: always for the operator to mend."""

from __future__ import annotations

from typing import ClassVar

from protocol.errors import OperatorError


class ConfigError(OperatorError):
    """A setting that cannot be used, with the place that it came from."""

    code: ClassVar[str] = "config-invalid"
    exit_code: ClassVar[int] = 2


class KeyFileError(OperatorError):
    """A private key file that is missing, unreadable, open to others, or not Ed25519."""

    code: ClassVar[str] = "key-file"
    exit_code: ClassVar[int] = 6


class KeyMissing(KeyFileError):
    """There is no key file at that path."""

    code: ClassVar[str] = "key-missing"


class KeyLocked(KeyFileError):
    """The key is encrypted, and the passphrase is missing or wrong."""

    code: ClassVar[str] = "key-locked"
