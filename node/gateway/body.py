"""The body of a file, block by block, under policy to its last byte."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import trio

from node.gateway.backend import Unavailable
from node.gateway.response import BodyCut
from node.gateway.tree import LoadBlock
from node.gateway.view import Refused, insist
from node.policy.model import Verdict
from protocol.cid import Cid
from protocol.errors import DecodeError, OperatorError
from protocol.walk import FileCursor

Gate = Callable[[Cid | None], Verdict]
"""May this block of the file, or (None) the file at all, be sent now?"""

Refresh = Callable[[], Awaitable[None]]
"""Makes sure that the gate asks the rules in force now."""

log = logging.getLogger(__name__)


class FileBody:
    """Bytes start to stop of a file. Call `prime` before the head is sent: so far an error can still be said."""

    def __init__(
        self, cursor: FileCursor, length: int, load: LoadBlock, refresh: Refresh, gate: Gate, *, block_s: float
    ) -> None:
        self.length = length
        self._cursor = cursor
        self._load = load
        self._refresh = refresh
        self._gate = gate
        self._block_s = block_s
        self._first: bytes | memoryview = b""
        self._abort: Callable[[], None] | None = None

    async def prime(self) -> bytes | memoryview:
        """Load up to the first bytes and return them. Raises Refused, Unavailable, DecodeError, OperatorError."""
        self._first = await self._next()
        return self._first

    def on_abort(self, abort: Callable[[], None]) -> None:
        """What to call when the body may no longer be sent."""
        self._abort = abort

    def check(self) -> None:
        """Ask policy again; cuts the body if the answer is no."""
        if self._abort is not None and not self._gate(None).allowed:
            self._abort()

    async def next_piece(self) -> bytes | memoryview:
        """The next bytes, empty at the end. Raises BodyCut."""
        if self._first:
            piece, self._first = self._first, b""
            return piece
        try:
            with trio.fail_after(self._block_s):
                return await self._next()
        except trio.TooSlowError:
            raise BodyCut("a block did not arrive in time") from None
        except Refused:
            raise BodyCut("policy refuses the rest") from None
        except (Unavailable, DecodeError, OperatorError) as error:
            log.warning("an answer was cut: %s", error)
            raise BodyCut(str(error)) from error

    async def _next(self) -> bytes | memoryview:
        while (cid := self._cursor.want()) is not None:
            piece = self._cursor.feed(await self._load(cid))
            await self._refresh()  # last, because loading may have taken long
            insist(self._gate(cid))
            if piece:
                return piece
        return b""
