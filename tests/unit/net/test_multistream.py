from __future__ import annotations

import contextlib
from collections.abc import Sequence

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from node.net import multistream
from node.net.multistream import HEADER, NegotiationFailed, encode
from node.net.port import ProtocolUnsupported
from tests.property.fuzzing import examples


class Script:
    """The other side: what it says, and what it was told."""

    def __init__(self, said: bytes) -> None:
        self.said = said
        self.told = b""

    async def read(self, count: int) -> bytes:
        await trio.lowlevel.checkpoint()
        taken, self.said = self.said[: min(count, 3)], self.said[min(count, 3) :]
        return taken

    async def write(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        self.told += data


async def propose(said: bytes, *protocols: str) -> tuple[str, Script]:
    other = Script(said)
    return await multistream.propose(other.read, other.write, protocols), other


async def test_proposal_that_is_taken() -> None:
    chosen, other = await propose(encode(HEADER) + encode("/a/1") + b"first bytes", "/a/1")
    assert chosen == "/a/1"
    assert other.told == b"\x13/multistream/1.0.0\n\x05/a/1\n"
    assert other.said == b"first bytes"  # not one byte too many


async def test_second_proposal_is_taken() -> None:
    chosen, _ = await propose(encode(HEADER) + encode("na") + encode("/b/1"), "/a/1", "/b/1")
    assert chosen == "/b/1"


async def test_nothing_is_taken() -> None:
    with pytest.raises(ProtocolUnsupported):
        await propose(encode(HEADER) + encode("na"), "/a/1")


@pytest.mark.parametrize(
    "said",
    [
        b"",
        encode(HEADER),
        encode("/multistream/2.0.0"),
        encode(HEADER) + encode("/other/1"),
        encode(HEADER) + b"\x03\xff\xff\n",
        encode(HEADER) + b"\x03abc",
        encode(HEADER) + b"\x00",
        b"\xff\x7f" + bytes(20_000),
    ],
)
async def test_broken_answers(said: bytes) -> None:
    with pytest.raises(NegotiationFailed):
        await propose(said, "/a/1")


async def answer(said: bytes, supported: Sequence[str] = ("/a/1",)) -> tuple[str, Script]:
    other = Script(said)
    return await multistream.answer(other.read, other.write, supported), other


async def test_answers_na_until_it_knows_a_protocol() -> None:
    chosen, other = await answer(encode(HEADER) + encode("/x/1") + encode("ls") + encode("/a/1"))
    assert chosen == "/a/1"
    assert other.told == encode(HEADER) + 2 * encode("na") + encode("/a/1")


async def test_gives_up_on_a_peer_that_goes_on_proposing() -> None:
    with pytest.raises(NegotiationFailed, match="no common protocol"):
        await answer(encode(HEADER) + encode("/x/1") * 1000)


def test_long_names_have_a_two_byte_length_and_a_limit() -> None:
    assert encode("x" * 199) == b"\xc8\x01" + b"x" * 199 + b"\n"
    with pytest.raises(ValueError):
        encode("x" * 1024)


@given(st.binary(max_size=300))
@examples(100)
def test_no_bytes_raise_anything_else(said: bytes) -> None:
    async def main() -> None:
        for data in (said, encode(HEADER) + said):
            with contextlib.suppress(NegotiationFailed):
                await answer(data)
            with contextlib.suppress(NegotiationFailed, ProtocolUnsupported):
                await propose(data, "/a/1")

    trio.run(main)
