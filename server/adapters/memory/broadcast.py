"""The broadcast of a single process: it hears every hint that it publishes."""

from collections.abc import AsyncIterator, Awaitable

from server.adapters.hints import WAITING_LIMIT, HintQueue
from server.domain.channels import ChannelName
from server.domain.events import Event
from server.ports.broadcast import PUBLISHED, Broadcast, Hint


class MemoryBroadcast(Broadcast):
    """Passes hints through a bounded queue in this process. `publish` never waits."""

    def __init__(self, limit: int = WAITING_LIMIT) -> None:
        self._queue = HintQueue(limit)
        self._channels: set[ChannelName] = set()

    @property
    def dropped(self) -> int:
        """How many hints had no room in the queue."""
        return self._queue.dropped

    def publish(self, event: Event) -> Awaitable[None]:
        """Queue the hint. Keeps promises 1 and 2."""
        if self.hears(event.channel):
            self._queue.put(event)
        return PUBLISHED

    def hears(self, channel: ChannelName) -> bool:
        """Whether the channel is subscribed."""
        return channel in self._channels

    async def subscribe(self, channel: ChannelName) -> None:
        """Let the channel's hints through. Keeps promise 3."""
        self._channels.add(channel)

    async def unsubscribe(self, channel: ChannelName) -> None:
        """Stop the channel's hints."""
        self._channels.discard(channel)

    def listen(self) -> AsyncIterator[Hint]:
        """Yield all hints, in the order in which they were published. Keeps promise 5."""
        return self._queue.listen()
