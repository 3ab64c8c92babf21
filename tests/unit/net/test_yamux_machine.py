"""The Yamux machine against frames written by hand, after the specification."""

from __future__ import annotations

import pytest

from node.net.yamux_frames import HEADER, INITIAL_WINDOW_BYTES, Flag, FrameType, GoAway, header
from node.net.yamux_machine import StreamLostError, YamuxLimits, YamuxMachine, YamuxViolationError

SMALL = YamuxLimits(streams=4, window_bytes=INITIAL_WINDOW_BYTES, control_bytes=120, lingering=2, nuisances=5)


def server(limits: YamuxLimits | None = None) -> YamuxMachine:
    return YamuxMachine(is_client=False, limits=limits)


def client(limits: YamuxLimits | None = None) -> YamuxMachine:
    return YamuxMachine(is_client=True, limits=limits)


def sent(machine: YamuxMachine, max_bytes: int = 10**9) -> list[tuple[int, int, int, int, bytes]]:
    """What the machine wants to send, as (type, flags, stream, length, body) tuples."""
    data = b"".join(machine.output(max_bytes))
    frames = []
    while data:
        _, kind, flags, stream_id, length = HEADER.unpack_from(data)
        size = HEADER.size + (length if kind == FrameType.DATA else 0)
        frames.append((kind, flags, stream_id, length, data[HEADER.size : size]))
        data = data[size:]
    return frames


def with_stream(limits: YamuxLimits | None = None) -> YamuxMachine:
    """A server on which the peer has opened stream 1, with nothing left to send."""
    machine = server(limits)
    machine.feed(header(FrameType.WINDOW_UPDATE, Flag.SYN, 1, 0))
    assert machine.accepted.popleft() == 1
    assert sent(machine) == [(FrameType.WINDOW_UPDATE, Flag.ACK, 1, 0, b"")]
    return machine


def test_client_opens_odd_and_server_even_streams() -> None:
    assert [client().open(), server().open()] == [1, 2]
    machine = client()
    assert [machine.open(), machine.open()] == [1, 3]
    assert sent(machine) == [
        (FrameType.WINDOW_UPDATE, Flag.SYN, 1, 0, b""),
        (FrameType.WINDOW_UPDATE, Flag.SYN, 3, 0, b""),
    ]


def test_data_arrives_whole_in_pieces_and_byte_by_byte() -> None:
    frame = header(FrameType.DATA, Flag.SYN, 1, 5) + b"hello" + header(FrameType.DATA, Flag.FIN, 1, 1) + b"!"
    for step in (1, 2, 7, 100):
        machine = server()
        for offset in range(0, len(frame), step):
            machine.feed(frame[offset : offset + step])
        assert machine.read(1, 100) == b"hello!"
        assert machine.read(1, 100) == b""


def test_nothing_yet_is_told_apart_from_the_end() -> None:
    machine = with_stream()
    assert machine.read(1, 10) is None
    machine.feed(header(FrameType.WINDOW_UPDATE, Flag.FIN, 1, 0))
    assert machine.readable == {1}
    assert machine.read(1, 10) == b""


def test_data_goes_out_in_frames_that_fit_the_window() -> None:
    machine = with_stream(YamuxLimits(frame_bytes=100_000))
    machine.queue(1, memoryview(bytes(INITIAL_WINDOW_BYTES + 10)))
    assert [frame[3] for frame in sent(machine)] == [100_000, 100_000, INITIAL_WINDOW_BYTES - 200_000]
    assert machine.pending(1) == 10
    assert not machine.may_send(1)
    assert sent(machine) == []
    machine.feed(header(FrameType.WINDOW_UPDATE, 0, 1, 4))
    assert [frame[3] for frame in sent(machine)] == [4]
    machine.feed(header(FrameType.WINDOW_UPDATE, 0, 1, 100))
    assert [frame[3] for frame in sent(machine)] == [6]
    assert machine.pending(1) == 0
    assert machine.writable == {1}


def test_end_follows_what_is_queued() -> None:
    machine = with_stream()
    machine.queue(1, memoryview(b"last words"))
    machine.finish(1)
    machine.finish(1)
    assert sent(machine) == [
        (FrameType.DATA, 0, 1, 10, b"last words"),
        (FrameType.WINDOW_UPDATE, Flag.FIN, 1, 0, b""),
    ]
    with pytest.raises(StreamLostError):
        machine.queue(1, memoryview(b"more"))


def test_streams_take_turns() -> None:
    machine = server(YamuxLimits(frame_bytes=10))
    for stream_id in (1, 3):
        machine.feed(header(FrameType.WINDOW_UPDATE, Flag.SYN, stream_id, 0))
    sent(machine)
    machine.queue(1, memoryview(bytes(30)))
    machine.queue(3, memoryview(bytes(30)))
    assert [frame[2] for frame in sent(machine)] == [1, 3, 1, 3, 1, 3]


def test_output_stops_near_the_limit_and_goes_on() -> None:
    machine = with_stream(YamuxLimits(frame_bytes=1000))
    machine.queue(1, memoryview(bytes(10_000)))
    first = sent(machine, 2500)
    assert sum(frame[3] for frame in first) == 3000
    assert machine.wants_output
    assert sum(frame[3] for frame in sent(machine)) == 7000


def test_window_grows_once_its_user_reads_and_is_given_back_by_halves() -> None:
    machine = with_stream(YamuxLimits(window_bytes=400_000))
    machine.feed(header(FrameType.DATA, 0, 1, 1000) + bytes(1000))
    assert sent(machine) == []
    machine.read(1, 1000)
    grown = 400_000 - INITIAL_WINDOW_BYTES + 1000
    assert sent(machine) == []  # less than half of it is missing
    machine.feed(header(FrameType.DATA, 0, 1, 100_000) + bytes(100_000))
    machine.read(1, 100_000)
    assert sent(machine) == [(FrameType.WINDOW_UPDATE, 0, 1, grown + 100_000, b"")]


def test_more_than_the_window_ends_the_connection() -> None:
    machine = with_stream()
    machine.feed(header(FrameType.DATA, 0, 1, INITIAL_WINDOW_BYTES) + bytes(INITIAL_WINDOW_BYTES))
    with pytest.raises(YamuxViolationError):
        machine.feed(header(FrameType.DATA, 0, 1, 1))
    assert sent(machine) == [(FrameType.GO_AWAY, 0, 0, GoAway.PROTOCOL_ERROR, b"")]


@pytest.mark.parametrize(
    "frame",
    [
        HEADER.pack(1, 0, 0, 1, 0),
        HEADER.pack(0, 4, 0, 1, 0),
        header(FrameType.DATA, 0, 3, 0),
        header(FrameType.DATA, 0, 2, 0),
        header(FrameType.DATA, 0, 0, 0),
        header(FrameType.WINDOW_UPDATE, Flag.SYN, 0, 0),
        header(FrameType.WINDOW_UPDATE, Flag.SYN, 2, 0),
        header(FrameType.WINDOW_UPDATE, Flag.SYN, 1, 0),
        header(FrameType.WINDOW_UPDATE, 0, 1, 2**32 - 1),
        header(FrameType.DATA, Flag.FIN, 1, 0) + header(FrameType.DATA, 0, 1, 1),
    ],
)
def test_violations(frame: bytes) -> None:
    machine = with_stream()
    with pytest.raises(YamuxViolationError):
        machine.feed(frame)
    assert machine.ended


def test_reset_drops_what_is_unread() -> None:
    machine = with_stream()
    machine.feed(header(FrameType.DATA, 0, 1, 3) + b"abc" + header(FrameType.WINDOW_UPDATE, Flag.RST, 1, 0))
    with pytest.raises(StreamLostError):
        machine.read(1, 10)
    with pytest.raises(StreamLostError):
        machine.queue(1, memoryview(b"x"))
    assert machine.buffered_bytes == 0
    assert sent(machine) == []
    machine.release(1)
    assert machine.streams == 0


@pytest.mark.parametrize("ended_first", [False, True])
@pytest.mark.parametrize(("handed_out", "left"), [(1, False), (0, True)])
def test_reset_fails_a_send_only_when_it_was_not_all_handed_out(ended_first: bool, handed_out: int, left: bool) -> None:
    machine = with_stream()
    machine.queue(1, memoryview(b"all of it"))
    assert len(sent(machine, 1000 * handed_out)) == handed_out
    if ended_first:
        machine.feed(header(FrameType.WINDOW_UPDATE, Flag.FIN, 1, 0))
    machine.feed(header(FrameType.WINDOW_UPDATE, Flag.RST, 1, 0))
    if left:
        with pytest.raises(StreamLostError):
            machine.pending(1)
    else:
        assert machine.pending(1) == 0
    with pytest.raises(StreamLostError):
        machine.queue(1, memoryview(b"more"))


def test_reset_after_the_end_keeps_what_came_before() -> None:
    machine = with_stream()
    machine.feed(header(FrameType.DATA, Flag.FIN, 1, 3) + b"abc" + header(FrameType.WINDOW_UPDATE, Flag.RST, 1, 0))
    assert machine.read(1, 10) == b"abc"
    assert machine.read(1, 10) == b""
    with pytest.raises(StreamLostError):
        machine.queue(1, memoryview(b"x"))


def test_our_reset_is_sent_once_and_late_data_is_dropped_within_the_window() -> None:
    machine = with_stream(SMALL)
    machine.reset(1)
    machine.reset(1)
    assert sent(machine) == [(FrameType.WINDOW_UPDATE, Flag.RST, 1, 0, b"")]
    machine.release(1)
    assert machine.streams == 0
    for _ in range(4):
        machine.feed(header(FrameType.DATA, 0, 1, 65_536) + bytes(65_536))
    for _ in range(5):
        machine.feed(header(FrameType.DATA, 0, 1, 1) + b"x")
    with pytest.raises(YamuxViolationError):
        machine.feed(header(FrameType.DATA, 0, 1, 1))


def test_released_stream_ends_and_goes_when_the_peer_ends_too() -> None:
    machine = with_stream()
    assert machine.release(1)  # the peer has not ended: the driver waits a while, then resets
    assert sent(machine) == [(FrameType.WINDOW_UPDATE, Flag.FIN, 1, 0, b"")]
    machine.feed(header(FrameType.DATA, 0, 1, 3) + b"abc")
    assert machine.buffered_bytes == 0
    machine.feed(header(FrameType.WINDOW_UPDATE, Flag.FIN, 1, 0))
    assert machine.streams == 0


def test_streams_beyond_the_limit_are_reset() -> None:
    machine = server(SMALL)
    for number in range(5):
        machine.feed(header(FrameType.WINDOW_UPDATE, Flag.SYN, 2 * number + 1, 0))
    assert list(machine.accepted) == [1, 3, 5, 7]
    assert sent(machine)[-1] == (FrameType.WINDOW_UPDATE, Flag.RST, 9, 0, b"")
    assert machine.refused == 1
    machine.reset(1)
    machine.release(1)
    machine.feed(header(FrameType.WINDOW_UPDATE, Flag.SYN, 11, 0))
    assert machine.accepted[-1] == 11


def test_own_streams_have_a_limit_too() -> None:
    machine = client(SMALL)
    for _ in range(4):
        machine.open()
    with pytest.raises(StreamLostError):
        machine.open()


def test_pings_are_answered_until_too_many_answers_wait() -> None:
    machine = server(SMALL)
    machine.feed(header(FrameType.PING, Flag.SYN, 0, 42))
    assert sent(machine) == [(FrameType.PING, Flag.ACK, 0, 42, b"")]
    for _ in range(10):
        machine.feed(header(FrameType.PING, Flag.SYN, 0, 42))
    with pytest.raises(YamuxViolationError):
        machine.feed(header(FrameType.PING, Flag.SYN, 0, 42))


def test_our_ping_and_its_answer() -> None:
    machine = server()
    machine.ping()
    assert sent(machine) == [(FrameType.PING, Flag.SYN, 0, 1, b"")]
    machine.feed(header(FrameType.PING, Flag.ACK, 0, 1))
    assert machine.pongs == 1


def test_end_of_the_connection_keeps_streams_that_the_peer_ended() -> None:
    machine = server()
    machine.feed(header(FrameType.DATA, Flag.SYN | Flag.FIN, 1, 3) + b"abc")
    machine.feed(header(FrameType.DATA, Flag.SYN, 3, 3) + b"abc")
    machine.end()
    assert machine.read(1, 10) == b"abc"
    assert machine.read(1, 10) == b""
    with pytest.raises(StreamLostError):
        machine.read(3, 10)
    for stream_id in (1, 3):
        with pytest.raises(StreamLostError):
            machine.queue(stream_id, memoryview(b"x"))
    with pytest.raises(StreamLostError):
        machine.open()


def test_many_small_frames_are_taken_in_turns_and_none_is_lost() -> None:
    machine = with_stream()
    frames = b"".join(header(FrameType.PING, Flag.SYN, 0, number) for number in range(1300)) + b"\0"
    rest, turns = memoryview(frames), 0
    while rest:
        rest = machine.feed_some(rest)
        turns += 1
        assert len(sent(machine)) <= 512
    assert turns == 3
    machine.feed(header(FrameType.DATA, 0, 1, 2)[1:] + b"hi")  # goes on after the byte that was left over
    assert machine.read(1, 10) == b"hi"


def test_go_away_of_the_peer_ends_it() -> None:
    machine = server()
    machine.feed(header(FrameType.GO_AWAY, 0, 0, 0))
    assert machine.ended


def test_unqueue_forgets_what_was_not_handed_out() -> None:
    machine = with_stream(YamuxLimits(frame_bytes=1000))
    machine.queue(1, memoryview(bytes(5000)))
    assert len(sent(machine, 1500)) == 2
    assert machine.unqueue(1) == 3000
    assert sent(machine) == []
    assert machine.unqueue(99) == 0
