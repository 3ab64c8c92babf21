"""Answers that are asked for again and again, kept whole: small files of hosted sites.

An answer is kept only as long as nothing in the store has changed since it was made, rules and heads included, so that
it is what would be made now; its bytes were verified by this process. Whatever depends on more than what the key has
(conditions, ranges, DNS, other nodes) is not kept.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from node.gateway.body import FileBody
from node.gateway.http1 import Request
from node.gateway.limits import READY_BYTES, READY_MAX_BYTES
from node.gateway.response import Response
from node.gateway.view import StoreView

_PASSED_BY = frozenset(
    ("range", "if-range", "if-match", "if-none-match", "cache-control", "service-worker", "authorization")
)

Key = tuple[str | None, str, str | None, str | None, str | None]


@dataclass(frozen=True, slots=True)
class Version:
    """What an answer was made from. store: None until it was looked at."""

    store: int | None
    rules: int | None

    @classmethod
    def seen_by(cls, view: StoreView) -> Version:
        return cls(view.version, view.rules_version)


class ReadyAnswers:
    """Those of one version; bounded by the sum of their bodies, least recently used first out."""

    def __init__(self, max_bytes: int = READY_BYTES) -> None:
        self._max_bytes = max_bytes
        self._version: Version | None = None
        self._kept: OrderedDict[Key, Response] = OrderedDict()
        self._bytes = 0

    @staticmethod
    def key_of(request: Request) -> Key | None:
        """None for a request whose answer depends on more."""
        headers = request.headers
        if request.method != "GET" or not _PASSED_BY.isdisjoint(headers):
            return None
        accepted = headers.get("accept"), headers.get("accept-encoding")
        return (request.host, request.target, *accepted, headers.get("x-forwarded-proto"))

    def get(self, key: Key, version: Version) -> Response | None:
        """What was kept for it, under this version."""
        if version != self._version:
            self._version, self._bytes = version, 0
            self._kept.clear()
            return None
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
        return found

    def offer(self, key: Key, version: Version, response: Response) -> Response:
        """The response to send; kept if it is small, whole, and made from this version."""
        body = response.body
        if version != self._version or response.status != 200 or not isinstance(body, FileBody):
            return response
        data = body.whole()
        if data is None or len(data) > READY_MAX_BYTES or sum(len(part or "") for part in key) > READY_MAX_BYTES:
            return response
        ready = Response(response.status, response.headers, bytes(data))
        if key not in self._kept:
            self._kept[key] = ready
            self._bytes += len(data) + _COST_BYTES
            while self._bytes > self._max_bytes:
                _, old = self._kept.popitem(last=False)
                self._bytes -= (old.length or 0) + _COST_BYTES
        return ready


class ReadyAtHand:
    """Gives ready answers as long as nothing has changed, which is asked once for all requests that came together."""

    def __init__(self, ready: ReadyAnswers, view: StoreView) -> None:
        self._ready = ready
        self._view = view
        self._is_current: bool | None = None

    def begin_round(self) -> None:
        """Ask the store again."""
        self._is_current = None

    def answer(self, request: Request) -> Response | None:
        """What was answered before and would be again."""
        key = self._ready.key_of(request)
        if key is None:
            return None
        if self._is_current is None:
            self._is_current = self._view.is_current()
        return self._ready.get(key, Version.seen_by(self._view)) if self._is_current else None


_COST_BYTES = 4096  # of an answer besides its body: key and headers
