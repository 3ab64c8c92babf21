"""Bodies that are made block by block, under policy to their last byte: files and CAR files."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

import trio

from node.gateway.backend import Unavailable
from node.gateway.response import BodyCut
from node.gateway.tree import LoadBlock
from node.gateway.view import Refused, insist
from node.policy.model import Verdict
from protocol.car import encode_header, section_prefix
from protocol.cid import Cid
from protocol.errors import DecodeError, OperatorError
from protocol.walk import DagWalk, FileCursor, inline_block

Gate = Callable[[Cid | None], Verdict]
"""May this block of the file, or (None) the file at all, be sent now?"""

Refresh = Callable[[], Awaitable[None]]
"""Makes sure that the gate asks the rules in force now."""

CAR_PIECE_BYTES = 64 * 1024

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Way:
    """How a body comes by its blocks. load: the next one; refresh and gate: may it be sent. block_s: to wait for it."""

    load: LoadBlock
    refresh: Refresh
    gate: Gate
    block_s: float

    async def block(self, cid: Cid) -> bytes:
        """The verified block, which may be sent now. Raises Refused, Unavailable, OperatorError."""
        data = await self.load(cid)
        await self.refresh()  # last, because loading may have taken long
        insist(self.gate(cid))
        return data


class GatedBody(ABC):
    """Call `prime` before the head is sent: so far an error can still be said."""

    length: int | None = None

    def __init__(self, way: Way) -> None:
        self._way = way
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
        if self._abort is not None and not self._way.gate(None).allowed:
            self._abort()

    async def next_piece(self) -> bytes | memoryview:
        """The next bytes, empty at the end. Raises BodyCut."""
        if self._first:
            piece, self._first = self._first, b""
            return piece
        try:
            with trio.fail_after(self._way.block_s):
                return await self._next()
        except trio.TooSlowError:
            raise BodyCut("a block did not arrive in time") from None
        except Refused:
            raise BodyCut("policy refuses the rest") from None
        except (Unavailable, DecodeError, OperatorError) as error:
            log.warning("an answer was cut: %s", error)
            raise BodyCut(str(error)) from error

    @abstractmethod
    async def _next(self) -> bytes | memoryview:
        """The next bytes, empty at the end. Raises as prime()."""


class FileBody(GatedBody):
    """Bytes start to stop of a file."""

    def __init__(self, cursor: FileCursor, length: int, way: Way) -> None:
        super().__init__(way)
        self.length: int | None = length
        self._cursor = cursor

    def whole(self) -> bytes | memoryview | None:
        """All of it, if priming has brought it and nothing was sent."""
        return self._first if len(self._first) == self.length else None

    async def _next(self) -> bytes | memoryview:
        while (cid := self._cursor.want()) is not None:
            piece = self._cursor.feed(await self._way.block(cid))
            if piece:
                return piece
        return b""


class Rest(Protocol):
    """Names the blocks of an entry, itself first; each block is fed before the next one is asked for."""

    def want(self) -> Cid | None: ...

    def feed(self, block: bytes) -> object: ...


class WholeDag:
    """Every block below `root`, as Rest. repeat: leaves as often as they are linked."""

    def __init__(self, root: Cid, *, repeat: bool = False) -> None:
        self._walk = DagWalk(root, in_order=True, unique=not repeat)
        self._next: Cid | None = None

    def want(self) -> Cid | None:
        if self._next is None:
            self._next = next(iter(self._walk.want(1)), None)
        return self._next

    def feed(self, block: bytes) -> None:
        if self._next is not None:
            self._walk.feed(self._next, block)
        self._next = None


class CarBody(GatedBody):
    """A CARv1 file: the blocks on the way to an entry, then those that `rest` names.

    dups: those that `rest` names again are sent again. given: another form of the first CID, to be written for it.
    """

    def __init__(
        self,
        root: Cid,
        trail: tuple[Cid, ...],
        rest: Rest | None,
        way: Way,
        *,
        dups: bool = False,
        given: Cid | None = None,
    ) -> None:
        super().__init__(way)
        self._given = given
        self._dups = dups
        self._header = encode_header([self._written(root)])
        self._trail = deque(trail)
        self._rest = rest
        self._sent: set[Cid] = set()

    async def _next(self) -> bytes | memoryview:
        """Small sections together: each piece costs several system calls."""
        piece, self._header = bytearray(self._header), b""
        while len(piece) < CAR_PIECE_BYTES and (section := await self._section()):
            piece += section
        return bytes(piece)

    async def _section(self) -> bytes:
        """The next section, empty at the end."""
        while True:
            on_way = bool(self._trail)
            cid = self._trail.popleft() if on_way else self._rest.want() if self._rest is not None else None
            if cid is None:
                return b""
            data = await self._way.block(cid)
            if not on_way and self._rest is not None:
                self._rest.feed(data)
            if (self._dups or cid not in self._sent) and inline_block(cid) is None:
                if not self._dups:
                    self._sent.add(cid)
                return section_prefix(self._written(cid), len(data)) + data

    def _written(self, cid: Cid) -> Cid:
        return self._given if self._given is not None and self._given.canonical == cid else cid
