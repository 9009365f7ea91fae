"""The hints of one broker beside the signals of another: channels are heard on both."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from typing import Literal

from server.adapters.topics.bus import TopicBus
from server.domain.channels import ChannelName
from server.domain.events import LogEvent
from server.ports.broadcast import Broadcast, Hint


class Links(asyncio.Event):
    """Set while all of some events are set."""

    def __init__(self, *links: asyncio.Event) -> None:
        super().__init__()
        self._links = links

    def is_set(self) -> bool:
        """Say whether all are set."""
        return all(link.is_set() for link in self._links)

    async def wait(self) -> Literal[True]:
        """Wait until all are set."""
        while not self.is_set():
            for link in self._links:
                await link.wait()
        return True


class Beside(Broadcast):
    """The broadcast of a broker, for a store that carries signals and changes of rosters by a bus or broadcast of its
    own: a channel is subscribed to on both."""

    def __init__(self, hints: Broadcast, store: Broadcast | TopicBus) -> None:
        self._hints, self._store = hints, store

    @property
    def dropped(self) -> int:
        """How many hints had no room."""
        return self._hints.dropped

    def publish(self, event: LogEvent) -> Awaitable[None]:
        """Hint by the broker. Promises 1, 4."""
        return self._hints.publish(event)

    async def subscribe(self, channel: ChannelName) -> None:
        """Hear the channel on both. Promise 3."""
        await asyncio.gather(self._hints.subscribe(channel), self._store.subscribe(channel))

    async def unsubscribe(self, channel: ChannelName) -> None:
        """Hear the channel on neither. Promise 6."""
        await asyncio.gather(self._hints.unsubscribe(channel), self._store.unsubscribe(channel))

    def listen(self) -> AsyncIterator[Hint]:
        """The hints of the broker. Promises 1, 2, 5."""
        return self._hints.listen()
