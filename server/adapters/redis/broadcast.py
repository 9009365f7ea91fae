"""The broadcast over Redis pub/sub, by way of the bus."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator

import structlog

from server.adapters import codec
from server.adapters.codec import DecodeError
from server.adapters.redis.bus import RedisBus
from server.domain.channels import ChannelName
from server.domain.events import Event, MessageCreated, MessageEdited, MessageEvent
from server.domain.limits import MAX_DATA_DEPTH
from server.domain.nesting import is_deeper
from server.ports.broadcast import Broadcast, LinkRestored

WAITING_LIMIT = 10_000
"""Hints that wait for the listener. Over it they are dropped, and the listener is told to compare with the log."""

MAX_BYTES = 256 * 1024
"""Of a hint; the largest message takes less, however it is escaped."""

_log = structlog.get_logger("maru.redis")


class RedisBroadcast(Broadcast):
    """Hints to every replica that hosts the channel."""

    def __init__(self, bus: RedisBus, limit: int = WAITING_LIMIT) -> None:
        self._bus = bus
        self._limit = limit
        self._waiting: deque[Event | LinkRestored] = deque()
        self._arrived = asyncio.Event()
        bus.on_hint = self._take
        bus.on_restored = self._restored

    async def publish(self, event: MessageEvent) -> None:
        """Publish behind everything published before. Promises 1, 4."""
        await self._bus.publish(self._bus.topic(event.channel), codec.encode_event(event))

    async def subscribe(self, channel: ChannelName) -> None:
        """Hear the channel's topic. Promise 3."""
        await self._bus.subscribe(self._bus.topic(channel))

    async def unsubscribe(self, channel: ChannelName) -> None:
        """Stop hearing the channel's topic. Promise 6."""
        await self._bus.unsubscribe(self._bus.topic(channel))

    async def listen(self) -> AsyncIterator[Event | LinkRestored]:
        """All hints. Promises 1, 2, 5."""
        while True:
            while self._waiting:
                yield self._waiting.popleft()
            self._arrived.clear()
            await self._arrived.wait()

    def _take(self, topic: str, payload: bytes) -> None:
        try:
            event = _judged(payload)
            if self._bus.topic(event.channel) != topic:
                raise DecodeError("it belongs to another channel")
        except DecodeError as error:
            _log.warning("hint.refused", topic=topic, problem=str(error))
            return
        if len(self._waiting) >= self._limit:
            self._waiting.clear()
            self._waiting.append(LinkRestored())
        self._waiting.append(event)
        self._arrived.set()

    def _restored(self) -> None:
        if not (self._waiting and isinstance(self._waiting[-1], LinkRestored)):
            self._waiting.append(LinkRestored())
        self._arrived.set()


def _judged(payload: bytes) -> Event:
    """Return the event, if the payload may be an event of a log: any process that can publish may have sent it. Raises
    `DecodeError`."""
    if len(payload) > MAX_BYTES:
        raise DecodeError("too long")
    event = codec.decode_event(payload)
    if isinstance(event, MessageCreated | MessageEdited):
        message = event.message
        if message.channel != event.channel:
            raise DecodeError("its message belongs to another channel")
        loose = [message.data, message.author.name, message.reply_to, message.key, message.edited_at]
        if is_deeper(loose, MAX_DATA_DEPTH + 1):
            raise DecodeError("its data is nested too deep")
    return event
