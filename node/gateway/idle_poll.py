"""Where connections wait for a request: all in one epoll, so that an answer that is at hand costs no task switch.

trio's wait_readable takes three system calls and a switch of tasks for each request, which together cost more than all
the rest of a small file that is in memory.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Callable
from dataclasses import dataclass

import trio

TURNS_MAX = 32  # connections that are looked at before other tasks have their turn


@dataclass(slots=True)
class _Waiting:
    on_readable: Callable[[], bool]
    task: trio.lowlevel.Task
    failure: Exception | None = None


class IdlePoll:
    """`wait` works while `run` does."""

    def __init__(self, on_round: Callable[[], None] = lambda: None) -> None:
        """on_round: what arrived is handed out next; none of it comes later than this call."""
        self._on_round = on_round
        self._epoll = select.epoll()
        self._waiting: dict[int, _Waiting] = {}

    async def run(self) -> None:
        """Until cancelled; then nobody may wait any more."""
        try:
            while True:
                await trio.lowlevel.wait_readable(self._epoll.fileno())
                arrived = self._epoll.poll(0, TURNS_MAX)
                self._on_round()
                for descriptor, _ in arrived:
                    waiting = self._waiting.get(descriptor)
                    if waiting is not None and not _stays(waiting):
                        self._leave(descriptor)
                        trio.lowlevel.reschedule(waiting.task)
        finally:
            self._epoll.close()

    async def wait(self, sock: socket.socket, on_readable: Callable[[], bool]) -> None:
        """Calls on_readable whenever something has arrived, until it returns False. Raises what it raises."""
        descriptor = sock.fileno()
        waiting = _Waiting(on_readable, trio.lowlevel.current_task())

        def abort(_: object) -> trio.lowlevel.Abort:
            self._leave(descriptor)
            return trio.lowlevel.Abort.SUCCEEDED

        self._waiting[descriptor] = waiting
        self._epoll.register(descriptor, select.EPOLLIN)
        await trio.lowlevel.wait_task_rescheduled(abort)
        if waiting.failure is not None:
            raise waiting.failure

    def _leave(self, descriptor: int) -> None:
        del self._waiting[descriptor]
        self._epoll.unregister(descriptor)


def _stays(waiting: _Waiting) -> bool:
    try:
        return waiting.on_readable()
    except Exception as error:  # noqa: BLE001 - raised again in the task, which knows what to do with it
        waiting.failure = error
        return False
