"""What a command can end with, besides the errors of the rooms that it uses (docs/operators/cli.md)."""

from __future__ import annotations

from typing import ClassVar

from protocol.errors import OperatorError


class CommandError(OperatorError):
    """A command cannot do what was asked."""

    code: ClassVar[str] = "failed"


class WrongUsage(OperatorError):
    """The command line asks for something that makes no sense here."""

    code: ClassVar[str] = "usage"
    exit_code: ClassVar[int] = 2


class NoDaemon(OperatorError):
    """Nothing answers at the daemon's socket."""

    code: ClassVar[str] = "no-daemon"
    exit_code: ClassVar[int] = 3


class NoKey(OperatorError):
    """The keystore has no key that could be used."""

    code: ClassVar[str] = "no-key"
    exit_code: ClassVar[int] = 6


class FolderError(OperatorError):
    """A folder or a file in it cannot be published as it is."""

    code: ClassVar[str] = "folder"


class FolderChanged(FolderError):
    """A file was written while it was being published."""

    code: ClassVar[str] = "folder-changed"
