"""A WebM film of single pictures: as much of Matroska (RFC 9559) as a player needs to find a place in it."""

from __future__ import annotations

import struct
from collections.abc import Sequence

MS = 1_000_000  # ns


def _element(name: int, body: bytes) -> bytes:
    """With a length of 8 bytes, so that places are known before they are."""
    return name.to_bytes((name.bit_length() + 7) // 8) + (1 << 56 | len(body)).to_bytes(8) + body


def _number(name: int, value: int) -> bytes:
    return _element(name, value.to_bytes(8))


def picture_of_webp(webp: bytes) -> bytes:
    """The VP8 key frame in a WebP file of the simple form. ValueError."""
    at = webp.index(b"VP8 ")
    size = int.from_bytes(webp[at + 4 : at + 8], "little")
    return webp[at + 8 : at + 8 + size]


def film(pictures: Sequence[bytes], width: int, height: int, seconds_each: int = 1) -> bytes:
    """VP8 key frames, each shown so long; the index (Cues) is in front."""
    step_ms = 1000 * seconds_each
    head = _element(
        0x1A45DFA3,
        _number(0x4286, 1) + _number(0x42F7, 1) + _number(0x42F2, 4) + _number(0x42F3, 8) + _element(0x4282, b"webm")
        + _number(0x4287, 2) + _number(0x4285, 2),
    )  # fmt: skip
    length_ms = struct.pack(">d", len(pictures) * step_ms)
    info = _element(0x1549A966, _number(0x2AD7B1, MS) + _element(0x4489, length_ms) + _names())
    video = _element(0xE0, _number(0xB0, width) + _number(0xBA, height))
    track = _number(0xD7, 1) + _number(0x73C5, 1) + _number(0x83, 1) + _element(0x86, b"V_VP8") + video
    tracks = _element(0x1654AE6B, _element(0xAE, track))
    clusters = [
        _element(0x1F43B675, _number(0xE7, n * step_ms) + _element(0xA3, b"\x81\0\0\x80" + picture))
        for n, picture in enumerate(pictures)
    ]
    places = [0] * len(pictures)
    before = len(info + tracks + _cues(places, step_ms))
    for n, cluster in enumerate(clusters):
        places[n] = before
        before += len(cluster)
    return head + _element(0x18538067, info + tracks + _cues(places, step_ms) + b"".join(clusters))


def _cues(places: Sequence[int], step_ms: int) -> bytes:
    points = (
        _element(0xBB, _number(0xB3, n * step_ms) + _element(0xB7, _number(0xF7, 1) + _number(0xF1, place)))
        for n, place in enumerate(places)
    )
    return _element(0x1C53BB6B, b"".join(points))


def _names() -> bytes:
    return _element(0x4D80, b"fednode") + _element(0x5741, b"fednode")
