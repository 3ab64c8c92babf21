"""Messages of bitswap 1.0.0, 1.1.0 and 1.2.0 (docs/spec/bitswap.md): decoded strictly and within bounds, encoded."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from protocol import protobuf, varint
from protocol.cid import DAG_PB, SHA2_256, Cid, multihash_of
from protocol.errors import Malformed, OverLimit, TrailingBytes, UnknownVersion
from protocol.limits import (
    BITSWAP_BLOCKS_MAX,
    BITSWAP_MESSAGE_MAX_BYTES,
    BITSWAP_WANTS_MAX,
    FOREIGN_BLOCK_MAX_BYTES,
)

BITSWAP_1_0 = "/ipfs/bitswap/1.0.0"
BITSWAP_1_1 = "/ipfs/bitswap/1.1.0"
BITSWAP_1_2 = "/ipfs/bitswap/1.2.0"
PROTOCOLS = (BITSWAP_1_2, BITSWAP_1_1, BITSWAP_1_0)

_WHAT = "bitswap"
_INT32_END = 1 << 31
_UINT64_END = 1 << 64

# Message
_WANTLIST, _OLD_BLOCK, _PAYLOAD, _PRESENCE, _PENDING_BYTES = 1, 2, 3, 4, 5
# Wantlist
_ENTRY, _FULL = 1, 2
# Entry
_CID, _PRIORITY, _CANCEL, _TYPE, _SEND_DONT_HAVE = 1, 2, 3, 4, 5
# Block
_PREFIX, _DATA = 1, 2
# BlockPresence
_PRESENCE_CID, _PRESENCE_TYPE = 1, 2

_V0_PREFIX = bytes((0, DAG_PB, SHA2_256, 32))


@dataclass(frozen=True, slots=True)
class Want:
    """One entry of a wantlist.

    priority: int32, higher is more urgent. have: whether the block is there is asked, not the block itself.
    send_dont_have: an answer is wanted in any case.
    """

    cid: Cid
    priority: int = 1
    cancel: bool = False
    have: bool = False
    send_dont_have: bool = False


@dataclass(frozen=True, slots=True)
class Message:
    """One message. full: `wants` is the whole wantlist, not what was added to it.

    blocks: with the CID that prefix and data give, so that each is what it says. presences: have or have not.
    pending_bytes: what the sender still has to send.
    """

    wants: tuple[Want, ...] = ()
    full: bool = False
    blocks: tuple[tuple[Cid, bytes], ...] = field(default=(), repr=False)
    presences: tuple[tuple[Cid, bool], ...] = ()
    pending_bytes: int = 0


def encode(message: Message) -> bytes:
    """The message in the form of 1.1.0 and 1.2.0, without its length. Costs a copy of each block."""
    return b"".join(_parts(message))


def encode_framed(message: Message) -> bytes:
    """As a stream has it, after its length; nothing for a message that says nothing. One copy of each block, too."""
    parts = _parts(message)
    length = sum(map(len, parts))
    return b"".join((varint.encode(length), *parts)) if length else b""


def _parts(message: Message) -> list[bytes]:
    out: list[bytes] = []
    if message.wants or message.full:
        wantlist = b"".join(_delimited(_ENTRY, _encode_want(want)) for want in message.wants)
        out.append(_delimited(_WANTLIST, wantlist + protobuf.number(_FULL, message.full)))
    for cid, data in message.blocks:
        out += block_parts(cid, data)
    out += (_delimited(_PRESENCE, _encode_presence(cid, have)) for cid, have in message.presences)
    out.append(protobuf.number(_PENDING_BYTES, message.pending_bytes))
    return out


def encode_v0(blocks: Iterable[bytes], wants: Sequence[Want] = ()) -> bytes:
    """The form of 1.0.0: blocks without CIDs, which the reader takes for dag-pb with sha2-256."""
    wantlist = b"".join(_delimited(_ENTRY, _encode_want(want)) for want in wants)
    return _delimited(_WANTLIST, wantlist) + b"".join(_delimited(_OLD_BLOCK, data) for data in blocks)


def framed(body: bytes) -> bytes:
    """A message as it goes over a stream: after its length."""
    return varint.encode(len(body)) + body


def block_parts(cid: Cid, data: bytes) -> list[bytes]:
    """One block as parts of a message, without a copy of the data."""
    prefix = protobuf.head(_PREFIX, len(prefix_of(cid))) + prefix_of(cid) + protobuf.head(_DATA, len(data))
    return [protobuf.head(_PAYLOAD, len(prefix) + len(data)) + prefix, data]


def prefix_of(cid: Cid) -> bytes:
    """All of a CID but its digest: version, codec, hash function, digest length."""
    return _V0_PREFIX if cid.version == 0 else bytes(cid[: len(cid) - len(cid.digest)])


def decode(raw: bytes) -> Message:
    """A message without its length. Fields that do not exist today are skipped. Raises DecodeError.

    The data of each block was hashed: UnsupportedHash for one whose hash function is unknown.
    """
    if len(raw) > BITSWAP_MESSAGE_MAX_BYTES:
        raise OverLimit(f"a bitswap message of {len(raw)} bytes, at most {BITSWAP_MESSAGE_MAX_BYTES}")
    wants: tuple[Want, ...] = ()
    full = False
    blocks: list[tuple[Cid, bytes]] = []
    presences: list[tuple[Cid, bool]] = []
    pending_bytes = 0
    seen: set[int] = set()
    for number, wire_type, value in protobuf.fields(memoryview(raw), _WHAT):
        match number:
            case 1:
                _once(seen, number)
                wants, full = _read_wantlist(_bytes(wire_type, value))
            case 2:
                data = bytes(_block_data(_bytes(wire_type, value)))
                blocks.append((Cid(multihash_of(SHA2_256, 32, data)), data))
            case 3:
                blocks.append(_read_block(_bytes(wire_type, value)))
            case 4:
                presences.append(_read_presence(_bytes(wire_type, value)))
            case 5:
                _once(seen, number)
                pending_bytes = _int32(wire_type, value)
        if len(blocks) > BITSWAP_BLOCKS_MAX or len(presences) > BITSWAP_WANTS_MAX:
            raise OverLimit("bitswap: too many blocks or presences in one message")
    return Message(wants, full, tuple(blocks), tuple(presences), pending_bytes)


def _read_wantlist(raw: memoryview) -> tuple[tuple[Want, ...], bool]:
    wants: list[Want] = []
    full = False
    seen: set[int] = set()
    for number, wire_type, value in protobuf.fields(raw, _WHAT):
        if number == _ENTRY:
            if len(wants) == BITSWAP_WANTS_MAX:
                raise OverLimit(f"bitswap: a wantlist of more than {BITSWAP_WANTS_MAX} entries")
            wants.append(_read_want(_bytes(wire_type, value)))
        elif number == _FULL:
            _once(seen, number)
            full = _choice(wire_type, value)
    return tuple(wants), full


def _read_want(raw: memoryview) -> Want:
    cid: Cid | None = None
    priority, have = 0, False
    cancel = send_dont_have = False
    seen: set[int] = set()
    for number, wire_type, value in protobuf.fields(raw, _WHAT):
        if number > _SEND_DONT_HAVE:
            continue
        _once(seen, number)
        match number:
            case 1:
                cid = Cid.from_bytes(_bytes(wire_type, value))
            case 2:
                priority = _int32(wire_type, value)
            case 3:
                cancel = _choice(wire_type, value)
            case 4:
                have = _choice(wire_type, value)
            case 5:
                send_dont_have = _choice(wire_type, value)
    if cid is None:
        raise Malformed("bitswap: an entry of a wantlist without a CID")
    return Want(cid, priority, cancel, have, send_dont_have)


def _read_block(raw: memoryview) -> tuple[Cid, bytes]:
    prefix = data = memoryview(b"")
    seen: set[int] = set()
    for number, wire_type, value in protobuf.fields(raw, _WHAT):
        if number in (_PREFIX, _DATA):
            _once(seen, number)
            if number == _PREFIX:
                prefix = _bytes(wire_type, value)
            else:
                data = _block_data(_bytes(wire_type, value))
    return _cid_of(prefix, data), bytes(data)


def _cid_of(prefix: memoryview, data: memoryview) -> Cid:
    version, at = varint.decode(prefix)
    codec_at = at
    codec, at = varint.decode(prefix, at)
    code, code_end = varint.decode(prefix, at)
    length, end = varint.decode(prefix, code_end)
    if end != len(prefix):
        raise TrailingBytes("bitswap: bytes after the prefix of a CID", offset=end)
    if version == 0 and (codec, code, length) != (DAG_PB, SHA2_256, 32):
        raise Malformed("bitswap: version 0 with another codec or hash function than its own")
    if version > 1:
        raise UnknownVersion(f"CID version {version}")
    multihash = multihash_of(code, length, data)
    return Cid(multihash if version == 0 else b"\x01" + bytes(prefix[codec_at:at]) + multihash)


def _read_presence(raw: memoryview) -> tuple[Cid, bool]:
    cid: Cid | None = None
    have = True
    seen: set[int] = set()
    for number, wire_type, value in protobuf.fields(raw, _WHAT):
        if number == _PRESENCE_CID:
            _once(seen, number)
            cid = Cid.from_bytes(_bytes(wire_type, value))
        elif number == _PRESENCE_TYPE:
            _once(seen, number)
            have = not _choice(wire_type, value)
    if cid is None:
        raise Malformed("bitswap: a presence without a CID")
    return cid, have


def _encode_want(want: Want) -> bytes:
    return b"".join(
        (
            _delimited(_CID, want.cid),
            protobuf.number(_PRIORITY, want.priority),
            protobuf.number(_CANCEL, want.cancel),
            protobuf.number(_TYPE, want.have),
            protobuf.number(_SEND_DONT_HAVE, want.send_dont_have),
        )
    )


def _encode_presence(cid: Cid, have: bool) -> bytes:
    return _delimited(_PRESENCE_CID, cid) + protobuf.number(_PRESENCE_TYPE, not have)


def _delimited(number: int, body: bytes) -> bytes:
    return protobuf.head(number, len(body)) + body


def _once(seen: set[int], number: int) -> None:
    if number in seen:
        raise Malformed(f"bitswap: field {number} occurs twice")
    seen.add(number)


def _bytes(wire_type: int, value: int | memoryview) -> memoryview:
    if wire_type != protobuf.LENGTH or isinstance(value, int):
        raise Malformed("bitswap: a field of another type")
    return value


def _number(wire_type: int, value: int | memoryview) -> int:
    if wire_type != protobuf.VARINT or not isinstance(value, int):
        raise Malformed("bitswap: a field of another type")
    return value


def _int32(wire_type: int, value: int | memoryview) -> int:
    found = _number(wire_type, value)
    if found >= _UINT64_END - _INT32_END:
        return found - _UINT64_END
    if found >= _INT32_END:
        raise Malformed("bitswap: a number over 32 bits")
    return found


def _choice(wire_type: int, value: int | memoryview) -> bool:
    """The second of two values; 0 and 1 are all that there are."""
    found = _number(wire_type, value)
    if found > 1:
        raise Malformed(f"bitswap: {found} where only 0 and 1 have a meaning")
    return found == 1


def _block_data(data: memoryview) -> memoryview:
    if len(data) > FOREIGN_BLOCK_MAX_BYTES:
        raise OverLimit(f"a block of {len(data)} bytes, at most {FOREIGN_BLOCK_MAX_BYTES}")
    return data
