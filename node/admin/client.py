"""The CLI's side of the admin API: a synchronous client over the daemon's Unix socket (docs/operators/admin-api.md)."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar

from protocol.errors import OperatorError

Json = dict[str, Any]


class NoDaemon(OperatorError):
    """Nobody listens on the socket."""

    code: ClassVar[str] = "no-daemon"


class DaemonError(OperatorError):
    """The daemon said no; `code` and `hint` are the daemon's own."""

    code: ClassVar[str] = "daemon-error"


class AdminClient:
    """One method per route; each returns the decoded JSON. Use as a context manager."""

    def __init__(self, socket_path: Path, *, timeout_s: float = 60.0) -> None:
        raise NotImplementedError

    def __enter__(self) -> AdminClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None: ...
    def status(self) -> Json: ...
    def sites(self) -> list[Json]: ...
    def site(self, site: str) -> Json: ...
    def peers(self) -> list[Json]: ...
    def connect(self, address: str) -> Json: ...
    def rules(self) -> list[Json]: ...
    def block(self, target: str, *, reason: str = "", legal: bool = False, drop: bool = False) -> Json: ...
    def unblock(self, target: str) -> Json: ...
    def blocklists(self) -> list[Json]: ...
    def blocklist_add(self, path: str) -> Json: ...
    def blocklist_remove(self, path: str) -> Json: ...
    def follow(self, site: str) -> Json: ...
    def unfollow(self, site: str) -> Json: ...
    def doctor(self) -> Json: ...
