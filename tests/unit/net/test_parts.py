"""The small parts of the network: admission, budget, events, the race of dials, listening sockets."""

from __future__ import annotations

import socket

import pytest
import trio
import trio.testing

from node.net.addresses import Address
from node.net.admission import Admission
from node.net.dialling import race
from node.net.event_hub import EventHub
from node.net.listening import bind_all, check_announced, close_all, dialable
from node.net.making_room import Candidate, Usefulness, crowding
from node.net.port import ListenFailed, NetEvent, NetLimits, PeerConnected, PeerUnreachable
from node.net.receive_budget import ReceiveBudget
from node.net.turn import Turn

LIMITS = NetLimits(connections=6, inbound_connections=4, connections_per_address=2, handshakes=3)


def test_admission_per_address_and_per_ipv6_customer() -> None:
    door = Admission(LIMITS)
    assert [door.enter("192.0.2.1") for _ in range(3)] == [True, True, False]
    door = Admission(LIMITS)
    assert [door.enter(f"2001:db8::{n}") for n in range(3)] == [True, True, False]
    assert door.enter("2001:db8:0:1::1")
    door.leave("2001:db8::1", proved=False)
    assert door.enter("2001:db8::9")


def test_admission_of_handshakes_and_in_all() -> None:
    door = Admission(LIMITS)
    assert [door.enter(f"192.0.2.{n}") for n in range(4)] == [True, True, True, False]
    door.proved()
    assert door.enter("192.0.2.9")
    door.proved()
    assert not door.enter("192.0.2.10")  # inbound ones are full
    assert [door.enter_outbound() for _ in range(3)] == [True, True, False]
    door.leave_outbound()
    door.leave("192.0.2.9", proved=True)
    assert (door.inbound, door.outbound, door.handshakes) == (3, 1, 2)


class Holder:
    aborted = False

    def abort(self) -> None:
        self.aborted = True


def test_budget_ends_the_largest_holder() -> None:
    budget = ReceiveBudget(100)
    small, large = Holder(), Holder()
    budget.update(small, 30)
    budget.update(large, 60)
    budget.update(large, 65)
    assert budget.total_bytes == 95
    budget.update(small, 36)
    assert (small.aborted, large.aborted) == (False, True)
    assert budget.total_bytes == 36
    budget.leave(large)
    budget.leave(small)
    assert budget.total_bytes == 0


async def test_events_go_to_every_subscriber_and_the_slow_one_loses() -> None:
    hub = EventHub(2)
    events: list[NetEvent] = [PeerConnected(str(number), inbound=True) for number in range(3)]
    quick, slow = hub.subscribe(), hub.subscribe()
    for event in events:
        hub.publish(event)
        assert await quick.receive() == event
    assert hub.dropped == 1
    await quick.aclose()
    hub.publish(events[0])
    hub.close()
    assert [event async for event in slow] == events[:2]
    assert [event async for event in hub.subscribe()] == []


A, B, C = (Address("ip4", "127.0.0.1", port) for port in (1, 2, 3))


async def test_race_starts_the_next_after_a_failure_or_a_while(autojump_clock: trio.testing.MockClock) -> None:
    began: dict[int, float] = {}

    async def attempt(address: Address) -> int:
        began[address.port] = trio.current_time()
        if address is A:
            raise PeerUnreachable("refused")
        await trio.sleep(1 if address is C else 100)
        return address.port

    start = trio.current_time()
    assert await race([A, B, C], attempt) == 3
    assert began[2] == start
    assert 0.1 < began[3] - start < 0.5
    assert trio.current_time() - start < 1.5


async def test_race_that_nobody_wins_says_why() -> None:
    async def attempt(address: Address) -> int:
        raise PeerUnreachable(f"no {address.port}")

    with pytest.raises(PeerUnreachable, match=r"127\.0\.0\.1:1: no 1; 127\.0\.0\.1:2: no 2"):
        await race([A, B], attempt)
    with pytest.raises(PeerUnreachable, match="no address"):
        await race([], attempt)


def test_turn() -> None:
    turn = Turn("using")
    with turn, pytest.raises(trio.BusyResourceError):
        turn.__enter__()
    with turn:
        pass


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("nonsense", "not a TCP multiaddr"),
        ("/dns4/localhost/tcp/0", "not a plain IP address"),
        ("/ip4/192.0.2.1/tcp/0", "no such address"),
        ("/ip4/127.0.0.1/tcp/99999", "not a TCP port"),
    ],
)
async def test_listening_addresses_that_cannot_be(address: str, reason: str) -> None:
    with pytest.raises(ListenFailed, match=reason) as caught:
        await bind_all([address])
    assert caught.value.hint


async def test_taken_port_and_nothing_left_bound() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        free = await bind_all(["/ip4/127.0.0.1/tcp/0"])
        port = free[0].socket.getsockname()[1]
        close_all(free)
        with pytest.raises(ListenFailed, match="another program"):
            await bind_all([f"/ip4/127.0.0.1/tcp/{port}", f"/ip4/127.0.0.1/tcp/{taken}"])
        close_all(await bind_all([f"/ip4/127.0.0.1/tcp/{port}"]))


async def test_port_of_a_program_that_shares_its_port_is_taken_too() -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(ListenFailed, match="another program"):
            await bind_all([f"/ip4/127.0.0.1/tcp/{other.getsockname()[1]}"])


async def test_wildcard_addresses_become_dialable_ones() -> None:
    listeners = await bind_all(["/ip4/0.0.0.0/tcp/0", "/ip6/::/tcp/0"])
    found = dialable(listeners)
    close_all(listeners)
    assert {"127.0.0.1", "::1"} <= {address.host for address in found}
    assert not {"0.0.0.0", "::"} & {address.host for address in found}  # noqa: S104 - nothing is bound here


def test_announced_addresses_are_checked() -> None:
    check_announced(["/dns4/example.org/tcp/4101"])
    with pytest.raises(ListenFailed, match="cannot announce"):
        check_announced(["example.org:4101"])


def test_idle_connections_leave_above_the_high_mark_the_useless_first() -> None:
    usefulness = Usefulness()
    usefulness.note("host", 5.0)
    usefulness.note("older host", 4.0)
    everyone = [
        Candidate(0, "older host", 0.0, False),
        Candidate(1, "busy", 0.0, True),
        Candidate(2, "host", 0.0, False),
    ]
    everyone += [Candidate(number, f"stranger {number}", float(number), False) for number in range(3, 7)]
    assert usefulness.leavers(everyone[:6], allowed=8) == []
    assert [item.number for item in usefulness.leavers(everyone, allowed=8)] == [3]
    assert [item.number for item in usefulness.leavers(everyone, allowed=2)] == [3, 4, 5, 6, 0, 2]


def test_a_ban_ends_and_takes_the_usefulness_along() -> None:
    usefulness = Usefulness()
    usefulness.note("host", 5.0)
    usefulness.ban("host", 10.0)
    assert usefulness.banned("host", 9.9)
    assert not usefulness.banned("host", 10.0)
    assert not usefulness.banned("other", 9.9)
    assert (
        usefulness.leavers([Candidate(0, "new", 0.0, False), Candidate(1, "host", 9.0, False)], allowed=2)[0].peer
        == "new"
    )


def test_the_oldest_handshake_of_the_largest_group_gives_way() -> None:
    waiting = [(1, "a"), (2, "b"), (3, "b"), (4, "b"), (5, "c")]
    assert crowding("new", waiting) == 2
    assert crowding("c", waiting) == 2
    assert crowding("b", waiting) is None
    assert crowding("new", [(1, "a"), (2, "b")]) is None
    assert crowding("new", []) is None
