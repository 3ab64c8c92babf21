"""Two Yamux machines joined by a wire that cuts the bytes anywhere: what goes in comes out, windows hold."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from node.net.yamux_frames import INITIAL_WINDOW_BYTES
from node.net.yamux_machine import StreamLostError, YamuxLimits, YamuxMachine, YamuxViolationError
from tests.property.fuzzing import examples

LIMITS = YamuxLimits(streams=8, window_bytes=INITIAL_WINDOW_BYTES, frame_bytes=40_000)


class Side:
    """A machine with a user that remembers what it sent and received."""

    def __init__(self, *, is_client: bool) -> None:
        self.machine = YamuxMachine(is_client=is_client, limits=LIMITS)
        self.wire = bytearray()  # on its way to this side
        self.sent: dict[int, bytearray] = {}
        self.received: dict[int, bytearray] = {}
        self.ended: set[int] = set()
        self.users: set[int] = set()


def deliver(receiver: Side, sender: Side, cut: int) -> None:
    for piece in sender.machine.output(100_000):
        receiver.wire += piece
    data, receiver.wire = bytes(receiver.wire[:cut]), receiver.wire[cut:]
    receiver.machine.feed(data)
    while receiver.machine.accepted:
        adopt(receiver, receiver.machine.accepted.popleft())


def adopt(side: Side, stream_id: int) -> None:
    side.users.add(stream_id)
    side.sent[stream_id] = bytearray()
    side.received[stream_id] = bytearray()


def step(side: Side, action: int, which: int, amount: int) -> None:
    if action == 0:
        try:
            adopt(side, side.machine.open())
        except StreamLostError:
            return
    if not side.users:
        return
    stream_id = sorted(side.users)[which % len(side.users)]
    if action == 1 and stream_id not in side.ended:
        data = bytes([amount & 0xFF]) * amount
        side.machine.queue(stream_id, memoryview(data))
        side.sent[stream_id] += data
    elif action == 2:
        side.received[stream_id] += side.machine.read(stream_id, amount + 1) or b""
    elif action == 3 and stream_id not in side.ended:
        side.machine.finish(stream_id)
        side.ended.add(stream_id)


steps = st.lists(
    st.tuples(
        st.booleans(), st.integers(0, 4), st.integers(0, 7), st.one_of(st.integers(0, 50), st.integers(0, 300_000))
    ),
    max_size=60,
)


@given(steps, st.integers(1, 50_000))
@examples(150)
def test_everything_sent_arrives_in_order(actions: list[tuple[bool, int, int, int]], cut: int) -> None:
    sides = Side(is_client=True), Side(is_client=False)
    for first, action, which, amount in actions:
        side, other = sides if first else sides[::-1]
        if action == 4:
            deliver(other, side, amount)
        else:
            step(side, action, which, amount)
    settle(sides, cut)
    for side, other in (sides, sides[::-1]):
        for stream_id, data in side.sent.items():
            assert other.received[stream_id] == data
            assert (other.machine.read(stream_id, 1) == b"") is (stream_id in side.ended)


def settle(sides: tuple[Side, Side], cut: int) -> None:
    """Deliver and read until nothing moves any more."""
    moved = True
    while moved:
        moved = False
        for side, other in (sides, sides[::-1]):
            moved |= side.machine.wants_output or bool(other.wire)
            deliver(other, side, cut)
            for stream_id in other.users:
                while data := other.machine.read(stream_id, 100_000):
                    other.received[stream_id] += data
                    moved = True
            assert other.machine.buffered_bytes == 0


@given(st.binary(max_size=400), st.booleans())
@examples(300)
def test_no_bytes_raise_anything_but_a_violation(data: bytes, is_client: bool) -> None:
    machine = YamuxMachine(is_client=is_client, limits=LIMITS)
    try:
        machine.feed(data)
    except YamuxViolationError:
        assert machine.ended
    assert machine.buffered_bytes <= len(data)
    assert machine.streams <= LIMITS.streams


frames = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 15), st.integers(0, 6), st.integers(0, 40)), max_size=30)


@given(frames)
@examples(300)
def test_no_frames_raise_anything_but_a_violation(soup: list[tuple[int, int, int, int]]) -> None:
    machine = YamuxMachine(is_client=False, limits=LIMITS)
    try:
        for kind, flags, stream_id, length in soup:
            machine.feed(
                bytes((0, kind, 0, flags))
                + stream_id.to_bytes(4, "big")
                + length.to_bytes(4, "big")
                + (bytes(length) if kind == 0 else b"")
            )
            machine.output(1000)
    except YamuxViolationError:
        return
    assert machine.buffered_bytes <= sum(length for *_, length in soup)
