"""The broadcast of a single process: it hears every hint that it publishes."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator

from server.domain.channels import ChannelName
from server.domain.events import Event
from server.ports.broadcast import Broadcast, LinkRestored

WAITING_LIMIT = 10_000
"""Hints that may wait for the listener. Over this number all are dropped, and the listener is told to compare with the
log."""


class MemoryBroadcast(Broadcast):
    """Passes hints through a bounded queue in this process. `publish` never waits."""

    def __init__(self, limit: int = WAITING_LIMIT) -> None:
        self._limit = limit
        self._waiting: deque[Event | LinkRestored] = deque()
        self._channels: set[ChannelName] = set()
        self._arrived = asyncio.Event()

    async def publish(self, event: Event) -> None:
        """Queue the hint. Keeps promises 1 and 2."""
        if event.channel not in self._channels:
            return
        if len(self._waiting) >= self._limit:
            self._waiting.clear()
            self._waiting.append(LinkRestored())
        self._waiting.append(event)
        self._arrived.set()

    async def subscribe(self, channel: ChannelName) -> None:
        """Let the channel's hints through. Keeps promise 3."""
        self._channels.add(channel)

    async def unsubscribe(self, channel: ChannelName) -> None:
        """Stop the channel's hints."""
        self._channels.discard(channel)

    async def listen(self) -> AsyncIterator[Event | LinkRestored]:
        """Yield all hints, in the order in which they were published."""
        while True:
            while self._waiting:
                yield self._waiting.popleft()
            self._arrived.clear()
            await self._arrived.wait()
