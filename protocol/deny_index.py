"""A whole denylist as one sorted table that can be asked without reading the list (docs/spec/policy.md, "Looking up").

The table holds for each rule its key (protocol/deny_keys.py), where its line begins in the list, and since when it is
there; the line says the rest. It is asked where it lies, so that a mapped file serves all processes of a node.
"""

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from protocol import varint
from protocol.deny_keys import KEY_BYTES, NEVER_BLOCKED, OTHER_HASHES, Question, rule_keys
from protocol.denylist import (
    CidPath,
    DenyRule,
    HashTarget,
    LineError,
    parse_raw_line,
    rules_start,
)
from protocol.errors import DecodeError, Malformed, UnsupportedRule
from protocol.limits import DENYLIST_ERRORS_MAX, DENYLIST_LINE_MAX_BYTES
from protocol.varint import Buffer

ENTRY_BYTES: Final = KEY_BYTES + 8  # key, offset of the line, since_s
_PER_BUCKET: Final = 8
_BITS_MAX: Final = 20
_HEAD = struct.Struct("<8sIIII8x")  # magic, entries, rules, hash functions as bits, bits of the bucket number
_MAGIC: Final = b"fndeny1\n"
_TAIL = struct.Struct(">II")
_HASH_BITS = {code: 1 << number for number, code in enumerate(sorted(OTHER_HASHES))}
_BASE58 = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_PAIRS = {
    bytes((left, right)): 58 * high + low for high, left in enumerate(_BASE58) for low, right in enumerate(_BASE58)
}


@dataclass(frozen=True, slots=True)
class Built:
    """The table of a list; errors: lines without effect, the first DENYLIST_ERRORS_MAX of error_count."""

    table: bytes
    rule_count: int
    errors: list[LineError]
    error_count: int


class Hit(NamedTuple):
    """A rule that matches: its line without hints and comment is the rule's text."""

    line: str
    rule: DenyRule
    since_s: int


class DenyIndex:
    """A list and its table. Raises Malformed when they do not belong together."""

    def __init__(self, table: Buffer, raw: Buffer) -> None:
        try:
            magic, self._count, self.rule_count, self._hashes, self._bits = _HEAD.unpack_from(table)
        except struct.error:
            raise Malformed("the table of a list is cut short") from None
        self._start = _HEAD.size + 4 * ((1 << self._bits) + 1)
        if magic != _MAGIC or self._bits > _BITS_MAX or len(table) != self._start + self._count * ENTRY_BYTES:
            raise Malformed("not the table of a list")
        self._table = memoryview(table)
        self._buckets = self._table[_HEAD.size : self._start].cast("I")
        self._raw = memoryview(raw)
        self._codes = [code for code, bit in _HASH_BITS.items() if self._hashes & bit]

    def matches(self, question: Question, *, wide: bool = True) -> list[Hit]:
        """The rules that match, the last one of the list first, which is the one that decides.

        wide: a rule on the whole matches its parts, too, as a node wants it; else exactly as IPIP-383 has it.
        """
        found = set(self._found(question, wide))
        return [self._hit(offset, since_s) for offset, since_s in sorted(found, reverse=True)] if found else []

    def _found(self, question: Question, wide: bool) -> Iterator[tuple[int, int]]:
        for key in question.keys(wide=wide):
            yield from self.lookup(key)
        for code in self._codes:
            for key in question.other_keys(code, wide=wide):
                yield from self.lookup(key)
        if self.lookup(question.marker):
            for key in question.prefix_keys():
                yield from self.lookup(key)

    def lookup(self, key: bytes) -> list[tuple[int, int]]:
        """(offset of the line, since_s) of all entries under a key, the last one first."""
        bucket = int.from_bytes(key[:4], "big") >> (32 - self._bits)
        begin, end = self._buckets[bucket], self._buckets[bucket + 1]
        if begin == end:
            return []
        entries = bytes(self._table[self._start + begin * ENTRY_BYTES : self._start + end * ENTRY_BYTES])
        found: list[tuple[int, int]] = []
        at = entries.rfind(key)
        while at >= 0:
            if at % ENTRY_BYTES == 0:
                found.append(_TAIL.unpack_from(entries, at + KEY_BYTES))
            at = entries.rfind(key, 0, at + KEY_BYTES - 1)
        return found

    def line_at(self, offset: int) -> bytes:
        """The line that begins there, without its end."""
        size = 256
        while True:
            piece = bytes(self._raw[offset : offset + size])
            end = piece.find(b"\n")
            if end >= 0 or len(piece) < size or size > DENYLIST_LINE_MAX_BYTES:
                return piece if end < 0 else piece[:end]
            size *= 8

    def has_line(self, line: str) -> bool:
        """Whether a rule stands in the list just so; found by its keys, however long the list is."""
        try:
            keys, _ = _line_keys(line.encode())
        except DecodeError:
            return False
        offsets = (offset for key in keys for offset, _ in self.lookup(key))
        return any(self.line_at(offset).decode().strip() == line for offset in offsets)

    def rules(self) -> Iterator[tuple[str, DenyRule]]:
        """All rules, in the order of the list, with their lines."""
        start, _ = rules_start(bytes(self._raw))
        for _, line in _lines(bytes(self._raw), start):
            try:
                rule = parse_raw_line(line)
            except DecodeError:
                continue
            if rule is not None:
                yield line.decode().strip(), rule

    def _hit(self, offset: int, since_s: int) -> Hit:
        line = self.line_at(offset)
        rule = parse_raw_line(line)
        if rule is None:
            raise Malformed("the table of a list names a line without a rule")
        return Hit(line.decode().strip(), rule, since_s)


def build(raw: bytes, *, now_s: int, before: DenyIndex | None = None, rules_max: int = 2**31) -> Built:
    """The table of a list; rules that were there before keep their date.

    Raises DecodeError for a list that cannot be used as a whole (rules_start), UnsupportedRule for too many rules.
    """
    start, number = rules_start(raw)
    buckets = [bytearray() for _ in range(256)]
    errors: list[LineError] = []
    error_count = rule_count = hashes = 0
    for offset, line in _lines(raw, start):
        try:
            keys, bits = _line_keys(line)
        except DecodeError as error:
            error_count += 1
            if len(errors) < DENYLIST_ERRORS_MAX:
                errors.append(LineError(number, error))
            keys, bits = (), 0
        number += 1
        hashes |= bits
        for key in keys:
            buckets[key[0]] += key + offset.to_bytes(4, "big")
        if keys:
            rule_count += 1
            if rule_count > rules_max:
                raise UnsupportedRule(f"more than {rules_max} rules")
    return Built(_table(buckets, rule_count, hashes, now_s, before), rule_count, errors, error_count)


def _lines(raw: bytes, start: int) -> Iterator[tuple[int, bytes]]:
    while start <= len(raw):
        end = raw.find(b"\n", start)
        end = len(raw) if end < 0 else end
        yield start, raw[start:end]
        start = end + 1


def _line_keys(line: bytes) -> tuple[Iterable[bytes], int]:
    """The keys of a line's rule, and its hash function as a bit. Lists of a million lines are of two kinds: those come
    first, and by a shorter way."""
    if line.startswith(b"//"):
        hashed = line[2:].rstrip(b"\r")
        if len(hashed) == 64 and b"0" in hashed and hashed.isalnum():  # no base58: one reading
            try:
                return (bytes.fromhex(hashed.decode("ascii"))[:KEY_BYTES],), 0
            except ValueError:
                pass
        elif len(hashed) == 46 and (key := _sha256_key(hashed)) is not None:
            return (key,), 0
    rule = parse_raw_line(line)
    if rule is None:
        return (), 0
    target = rule.target
    if isinstance(target, CidPath) and target.multihash in NEVER_BLOCKED:
        raise UnsupportedRule("the empty file or folder, which countless sites contain")
    bit = 0
    if isinstance(target, HashTarget) and target.multihash is not None:
        bit = _HASH_BITS.get(varint.decode(target.multihash)[0], 0)
    return rule_keys(target), bit


def _sha256_key(text: bytes) -> bytes | None:
    """The key in the base58 of a SHA2-256 multihash; None for any other text."""
    number = 0
    try:
        for at in range(0, 46, 2):
            number = number * 3364 + _PAIRS[text[at : at + 2]]
    except KeyError:
        return None
    if number >> 256 != 0x1220:
        return None
    return number.to_bytes(34, "big")[2 : 2 + KEY_BYTES]


def _table(buckets: list[bytearray], rule_count: int, hashes: int, now_s: int, before: DenyIndex | None) -> bytes:
    size = KEY_BYTES + 4
    count = sum(map(len, buckets)) // size
    bits = min(_BITS_MAX, max(1, (count // _PER_BUCKET).bit_length()))
    counts = [0] * ((1 << bits) + 1)
    shift, now = 32 - bits, now_s.to_bytes(4, "big")
    body = bytearray()
    for bucket in buckets:
        for entry in sorted(bytes(bucket[at : at + size]) for at in range(0, len(bucket), size)):
            since = now
            if before is not None and (known := before.lookup(entry[:KEY_BYTES])):
                since = known[0][1].to_bytes(4, "big")
            body += entry + since
            counts[(int.from_bytes(entry[:4], "big") >> shift) + 1] += 1
        bucket.clear()
    for number in range(1, len(counts)):
        counts[number] += counts[number - 1]
    head = _HEAD.pack(_MAGIC, count, rule_count, hashes, bits)
    return b"".join((head, struct.pack(f"<{len(counts)}I", *counts), body))
