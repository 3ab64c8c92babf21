"""Yamux frames as bytes: https://github.com/hashicorp/yamux/blob/master/spec.md, version 0."""

from __future__ import annotations

import struct
from enum import IntEnum

HEADER = struct.Struct(">BBHII")  # version, type, flags, stream id, length
HEADER_BYTES = HEADER.size
INITIAL_WINDOW_BYTES = 256 * 1024


class FrameType(IntEnum):
    DATA = 0
    WINDOW_UPDATE = 1
    PING = 2
    GO_AWAY = 3


class Flag(IntEnum):  # an IntFlag costs a call of Python code for each `&`
    SYN = 1
    ACK = 2
    FIN = 4
    RST = 8


class GoAway(IntEnum):
    NORMAL = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2


def header(kind: FrameType, flags: int, stream_id: int, length: int) -> bytes:
    return HEADER.pack(0, kind, flags, stream_id, length)
