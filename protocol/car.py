"""CAR files without I/O (docs/spec/bundle.md, sections 2 and 3; pack files of the store are CARv1, too).

Version 1 is written; version 2, which wraps it, is read, without its index.

The decoder is strict: canonical header, minimal varints, no empty sections, everything bounded. It does
not check hashes; the caller does (`section.cid.verify(section.data)`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from . import varint
from .cid import Cid, read_cid
from .errors import DecodeError, Malformed, NotCanonical, OverLimit, TrailingBytes, Truncated, UnknownVersion
from .limits import CAR_HEADER_MAX_BYTES, CAR_MAX_ROOTS, CAR_SECTION_MAX_BYTES, SIZE_MAX_BYTES
from .varint import Buffer

# DAG-CBOR of {"roots": [CID, …], "version": 1}, keys by length.
_MAP_OF_2_ROOTS = b"\xa2\x65roots"
_VERSION_KEY = b"\x67version"
_VERSION_1 = _VERSION_KEY + b"\x01"
_CID_TAG = b"\xd8\x2a"
_V2_PRAGMA = b"\xa1\x67version\x02"
_V2_HEADER_BYTES = 40  # characteristics (16), then offset and size of the data and offset of the index (8 each)
_V2_BEGIN = 1 + len(_V2_PRAGMA) + _V2_HEADER_BYTES


@dataclass(frozen=True, slots=True)
class Section:
    """One block of a CAR file. Offsets are in bytes from the start of the file."""

    cid: Cid
    offset: int
    """Of the section, that is of its length."""
    data_offset: int
    """Of the block's bytes."""
    data: bytes = field(repr=False)

    @property
    def end(self) -> int:
        """Offset after the section."""
        return self.data_offset + len(self.data)


def encode_header(roots: Sequence[Cid]) -> bytes:
    """The beginning of a CAR file, with its length. Raises ValueError for more than CAR_MAX_ROOTS roots."""
    if len(roots) > CAR_MAX_ROOTS:
        raise ValueError(f"{len(roots)} roots, at most {CAR_MAX_ROOTS}")
    items = (_CID_TAG + _cbor_head(0x40, 1 + len(root)) + b"\x00" + root for root in roots)
    body = _MAP_OF_2_ROOTS + _cbor_head(0x80, len(roots)) + b"".join(items) + _VERSION_1
    return varint.encode(len(body)) + body


def decode_header(body: bytes) -> tuple[Cid, ...]:
    """The roots of a header, given without its length.

    Raises UnknownVersion (CARv2 too), NotCanonical, Malformed, OverLimit; offsets are in `body`.
    """
    if body == _V2_PRAGMA:
        raise UnknownVersion("CAR version 2 where only version 1 is read", offset=0)
    if not body.startswith(_MAP_OF_2_ROOTS):
        raise Malformed("a CAR header is a map of roots and version", offset=0)
    count, at = _read_head(body, len(_MAP_OF_2_ROOTS), 0x80)
    if count > CAR_MAX_ROOTS:
        raise OverLimit(f"{count} roots, at most {CAR_MAX_ROOTS}", offset=at)
    roots: list[Cid] = []
    for _ in range(count):
        if body[at : at + 2] != _CID_TAG:
            raise Malformed("a root is not a CID", offset=at)
        length, start = _read_head(body, at + 2, 0x40)
        if body[start : start + 1] != b"\x00":
            raise Malformed("a root is not a CID", offset=start)
        cid, at = read_cid(body, start + 1)
        if at != start + length:
            raise Malformed("the length of a root is not that of its CID", offset=start)
        roots.append(cid)
    rest = body[at:]
    if rest.startswith(_VERSION_1):
        if len(rest) > len(_VERSION_1):
            raise TrailingBytes("bytes after the CAR header's map", offset=at + len(_VERSION_1))
        return tuple(roots)
    if not rest.startswith(_VERSION_KEY):
        raise Malformed("a CAR header without its version", offset=at)
    raise UnknownVersion("neither CAR version 1 nor 2", offset=at)


def section_prefix(cid: Cid, length: int) -> bytes:
    """What stands before a block of `length` bytes: the section's length and the CID."""
    return varint.encode(len(cid) + length) + cid


class CarDecoder:
    """Takes the bytes of a CAR file in pieces of any size; holds at most one section and one piece.

    In a file of version 2 what stands before and after the data, as the index, is passed over unread. With `v1_only`
    it is refused. feed() returns the sections that are complete now; `roots` is there as soon as the header is. Call
    close() at the end of the file. Errors are DecodeError with the offset in the file; the decoder raises
    the same one from then on. Sections before the error that were in the same piece are lost with it:
    feed moderate pieces (64 KiB).
    """

    __slots__ = ("_begins", "_buffer", "_ends", "_error", "_offset", "_roots", "_taken", "_v1_only")

    def __init__(self, *, v1_only: bool = False) -> None:
        self._v1_only = v1_only
        self._begins = 0  # where the data of version 1 does
        self._ends: int | None = None  # and ends, in a file of version 2
        self._buffer = bytearray()
        self._taken = 0  # bytes of the buffer that are done with
        self._offset = 0  # of the buffer's first byte in the file
        self._roots: tuple[Cid, ...] | None = None
        self._error: DecodeError | None = None

    @property
    def roots(self) -> tuple[Cid, ...] | None:
        """Roots of the file, None until the header was fed."""
        return self._roots

    @property
    def offset(self) -> int:
        """Offset after the last complete section: a file cut off there is whole."""
        return self._offset + self._taken

    def feed(self, piece: Buffer) -> list[Section]:
        if self._error is not None:
            raise self._error
        self._add(piece)
        found: list[Section] = []
        try:
            while (section := self._next()) is not None:
                found.append(section)
        except DecodeError as error:
            self._error = error
            raise
        del self._buffer[: self._taken]
        self._offset += self._taken
        self._taken = 0
        return found

    def close(self) -> None:
        """Raises Truncated if the file ends inside of its header or of a section."""
        if self._error is not None:
            raise self._error
        if self._roots is None or self._buffer or (self._ends is not None and self._offset < self._ends):
            raise Truncated("the CAR file ends early", offset=self._offset + len(self._buffer))

    def _add(self, piece: Buffer) -> None:
        """All of a piece but what is outside of the data of a file of version 2."""
        if self._ends is None:
            self._buffer += piece
            return
        at = self._offset + len(self._buffer)
        view = memoryview(piece)
        if not self._buffer and at < self._begins:
            skipped = min(self._begins - at, len(view))
            self._offset += skipped
            at += skipped
            view = view[skipped:]
        self._buffer += view[: max(0, self._ends - at)]

    def _read_v2_header(self, start: int) -> bool:
        """False while it is incomplete. `start`: where the pragma ended."""
        stop = start + _V2_HEADER_BYTES
        if stop > len(self._buffer):
            return False
        numbers = self._buffer[start + 16 : stop]
        data_offset, data_size, _ = (int.from_bytes(numbers[at : at + 8], "little") for at in (0, 8, 16))
        if data_offset < _V2_BEGIN or data_size == 0 or data_offset + data_size > SIZE_MAX_BYTES:
            raise Malformed("a CAR header of version 2 with impossible offsets", offset=start)
        rest = bytes(self._buffer[stop:])
        self._offset += stop
        self._buffer.clear()
        self._taken = 0
        self._begins, self._ends = data_offset, data_offset + data_size
        self._add(rest)
        return True

    def _next(self) -> Section | None:
        if self._roots is None and not self._read_roots():
            return None
        span = self._span(CAR_SECTION_MAX_BYTES)
        if span is None:
            return None
        offset = self.offset
        start, stop = span
        # A copy of the section, because views keep the buffer from being cut.
        section = bytes(memoryview(self._buffer)[start:stop])
        cid, data_start = self._read_cid(section, self._offset + start)
        self._taken = stop
        return Section(cid, offset, self._offset + start + data_start, section[data_start:])

    def _read_roots(self) -> bool:
        span = self._span(CAR_HEADER_MAX_BYTES)
        if span is None:
            return False
        start, stop = span
        body = bytes(self._buffer[start:stop])
        if body == _V2_PRAGMA and self._offset == 0 and not self._v1_only:
            return self._ends is None and self._read_v2_header(stop) and self._read_roots()
        try:
            self._roots = decode_header(body)
        except DecodeError as error:
            raise _moved(error, self._offset + start) from None
        self._taken = stop
        return True

    def _span(self, limit: int) -> tuple[int, int] | None:
        """Where the next length-prefixed item is in the buffer, or None while it is incomplete."""
        try:
            length, start = varint.decode(self._buffer, self._taken)
        except Truncated:
            return None
        except DecodeError as error:
            raise _moved(error, self._offset) from None
        if length == 0:
            raise Malformed("empty section in a CAR file", offset=self.offset)
        if length > limit:
            raise OverLimit(f"{length} bytes in one section, at most {limit}", offset=self.offset)
        stop = start + length
        return (start, stop) if stop <= len(self._buffer) else None

    @staticmethod
    def _read_cid(section: bytes, offset: int) -> tuple[Cid, int]:
        try:
            return read_cid(section, 0)
        except DecodeError as error:
            raise _moved(error, offset) from None


def _moved(error: DecodeError, by: int) -> DecodeError:
    """The same error with its offset counted from the start of the file."""
    text = str(error).rsplit(" (at byte ", 1)[0]
    return type(error)(text, hint=error.hint, offset=by + (error.offset or 0))


def _cbor_head(major: int, value: int) -> bytes:
    if value < 24:
        return bytes((major | value,))
    if value < 0x100:
        return bytes((major | 24, value))
    return bytes((major | 25,)) + value.to_bytes(2, "big")


def _read_head(body: bytes, at: int, major: int) -> tuple[int, int]:
    """(value, offset after it) of a CBOR head of one major type, up to 16 bits, shortest form only."""
    if at >= len(body):
        raise Truncated("CAR header ends early", offset=at)
    kind, info = body[at] & 0xE0, body[at] & 0x1F
    if kind != major:
        raise Malformed("CAR header has another type where roots are", offset=at)
    if info < 24:
        return info, at + 1
    width = {24: 1, 25: 2}.get(info, 0)
    if not width:
        raise OverLimit("a length over 16 bits in a CAR header", offset=at)
    end = at + 1 + width
    if end > len(body):
        raise Truncated("CAR header ends early", offset=at)
    value = int.from_bytes(body[at + 1 : end], "big")
    if len(_cbor_head(major, value)) != end - at:
        raise NotCanonical("a length in the CAR header is not in its shortest form", offset=at)
    return value, end
