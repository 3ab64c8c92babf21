"""One writer, any number of bounded subscriptions."""

from __future__ import annotations

import trio

from node.net.port import NetEvent


class EventHub:
    """`publish` never waits: a subscriber that lags by `size` events loses newer ones, which are counted."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._subscribers: list[trio.MemorySendChannel[NetEvent]] = []
        self._closed = False
        self.dropped = 0

    def subscribe(self) -> trio.MemoryReceiveChannel[NetEvent]:
        """A channel that gets what is published from now on; it ends when the hub is closed."""
        send, receive = trio.open_memory_channel[NetEvent](self._size)
        if self._closed:
            send.close()
        else:
            self._subscribers.append(send)
        return receive

    def publish(self, event: NetEvent) -> None:
        for subscriber in list(self._subscribers):
            try:
                subscriber.send_nowait(event)
            except trio.WouldBlock:
                self.dropped += 1
            except trio.BrokenResourceError:
                self._subscribers.remove(subscriber)
                subscriber.close()

    def close(self) -> None:
        self._closed = True
        for subscriber in self._subscribers:
            subscriber.close()
        self._subscribers.clear()
