"""The broadcast over Redis pub/sub, by way of the client manager's link."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator

import structlog

from server.adapters import codec
from server.adapters.codec import DecodeError
from server.adapters.redis import keys
from server.adapters.redis.manager import RedisRooms
from server.domain.channels import ChannelName
from server.domain.messages import Event
from server.ports.broadcast import Broadcast, LinkRestored

WAITING_LIMIT = 10_000
"""Hints that wait for the listener. Over it they are dropped, and the listener is told to compare with the log."""

_log = structlog.get_logger("maru.redis")


class RedisBroadcast(Broadcast):
    """Hints to every replica that hosts the channel."""

    def __init__(self, rooms: RedisRooms, limit: int = WAITING_LIMIT) -> None:
        self._rooms = rooms
        self._limit = limit
        self._waiting: deque[Event | LinkRestored] = deque()
        self._arrived = asyncio.Event()
        rooms.on_hint = self._take
        rooms.on_restored = self._restored

    async def publish(self, event: Event) -> None:
        """Publish behind everything published before. Promises 1, 4."""
        await self._rooms.publish(keys.topic(event.channel), codec.encode_event(event))

    async def subscribe(self, channel: ChannelName) -> None:
        """Hear the channel's topic. Promise 3."""
        await self._rooms.subscribe(keys.topic(channel))

    async def unsubscribe(self, channel: ChannelName) -> None:
        """Stop hearing the channel's topic. Promise 6."""
        await self._rooms.unsubscribe(keys.topic(channel))

    async def listen(self) -> AsyncIterator[Event | LinkRestored]:
        """All hints. Promises 1, 2, 5."""
        while True:
            while self._waiting:
                yield self._waiting.popleft()
            self._arrived.clear()
            await self._arrived.wait()

    def _take(self, topic: str, payload: bytes) -> None:
        try:
            event = codec.decode_event(payload)
        except DecodeError as error:
            _log.warning("hint.refused", topic=topic, problem=str(error))
            return
        if keys.topic(event.channel) != topic:
            _log.warning("hint.refused", topic=topic, problem="it belongs to another channel")
            return
        if len(self._waiting) >= self._limit:
            self._waiting.clear()
            self._waiting.append(LinkRestored())
        self._waiting.append(event)
        self._arrived.set()

    def _restored(self) -> None:
        self._waiting.append(LinkRestored())
        self._arrived.set()
