"""The broadcast over a broker's topics.

A hint without the cluster's seal is not delivered: its channel is compared with the log, so that an event of a replica
that seals otherwise, or not yet, comes all the same.
"""

from collections.abc import AsyncIterator

from server.adapters.codec import DecodeError, decode_event, encode_event
from server.adapters.hints import WAITING_LIMIT, HintQueue, Undecoded
from server.adapters.topics.topics import Kind, Topics
from server.domain.channels import ChannelName
from server.domain.events import Event, LogEvent, MessageCreated, MessageEdited
from server.domain.limits import MAX_DATA_DEPTH
from server.domain.nesting import is_deeper
from server.ports.broadcast import Broadcast, Hint


class TopicBroadcast(Broadcast):
    """Hints to every replica that hosts the channel and has the same seal. A hint at an event that has no room in a
    payload names its place alone: those who hear it read the log."""

    def __init__(self, topics: Topics, limit: int = WAITING_LIMIT) -> None:
        self._topics, self._queue = topics, HintQueue(limit)
        topics.hear(Kind.EVENT, self._take_event)
        topics.hear(Kind.PLACE, self._take_place)
        topics.on_refused = self._doubt
        topics.bus.on_restored.append(self._queue.put_restored)

    @property
    def dropped(self) -> int:
        """How many hints had no room in the queue."""
        return self._queue.dropped

    @property
    def refused(self) -> int:
        """How many payloads were not believed."""
        return self._topics.refused

    async def publish(self, event: LogEvent) -> None:
        """Publish behind everything published before. Promises 1, 4."""
        body = encode_event(event)
        if self._topics.fits(body):
            await self._topics.publish(event.channel, Kind.EVENT, body)
        else:
            await self._topics.publish(event.channel, Kind.PLACE, f"{event.epoch} {event.offset}".encode())

    async def subscribe(self, channel: ChannelName) -> None:
        """Hear the channel's topic. Promise 3."""
        await self._topics.bus.subscribe(channel)

    async def unsubscribe(self, channel: ChannelName) -> None:
        """Stop hearing the channel's topic. Promise 6."""
        await self._topics.bus.unsubscribe(channel)

    def listen(self) -> AsyncIterator[Hint]:
        """All hints. Promises 1, 2, 5."""
        return self._queue.listen()

    def _take_event(self, channel: ChannelName, body: bytes) -> None:
        self._queue.put(_Heard(channel, body))

    def _take_place(self, channel: ChannelName, _body: bytes) -> None:
        self._doubt(channel)

    def _doubt(self, channel: ChannelName) -> None:
        self._queue.put(_Nothing(channel))


class _Heard(Undecoded):
    """A hint as it came."""

    __slots__ = ("_body", "channel")

    def __init__(self, channel: ChannelName, body: bytes) -> None:
        self.channel, self._body = channel, body

    def event(self) -> Event | None:
        try:
            event = decode_event(self._body)
        except DecodeError:
            return None
        if event.channel != self.channel:
            return None
        deep = isinstance(event, MessageCreated | MessageEdited) and is_deeper(event.message.data, MAX_DATA_DEPTH)
        return None if deep else event


class _Nothing(Undecoded):
    """A hint that says only that its channel has something new."""

    __slots__ = ("channel",)

    def __init__(self, channel: ChannelName) -> None:
        self.channel = channel

    def event(self) -> None:
        return None
