"""The broadcast over Redis pub/sub, by way of the bus."""

from collections.abc import AsyncIterator

import structlog

from server.adapters.codec import DecodeError
from server.adapters.hints import WAITING_LIMIT, HintQueue
from server.adapters.redis.bus import RedisBus
from server.adapters.redis.hints import decode_hint, encode_hint
from server.domain.channels import ChannelName
from server.domain.events import MessageEvent
from server.ports.broadcast import Broadcast, Hint

MAX_PROBLEM_CHARS = 200
"""Of the reason in the log line about a hint: it may quote the hint."""

_log = structlog.get_logger("maru.redis")


class RedisBroadcast(Broadcast):
    """Hints to every replica that hosts the channel."""

    def __init__(self, bus: RedisBus, limit: int = WAITING_LIMIT) -> None:
        self._bus = bus
        self._queue = HintQueue(limit)
        bus.on_hint = self._take
        bus.on_restored = self._queue.put_restored

    @property
    def dropped(self) -> int:
        """How many hints had no room in the queue."""
        return self._queue.dropped

    async def publish(self, event: MessageEvent) -> None:
        """Publish behind everything published before. Promises 1, 4."""
        await self._bus.publish(self._bus.topic(event.channel), encode_hint(event))

    async def subscribe(self, channel: ChannelName) -> None:
        """Hear the channel's topic. Promise 3."""
        await self._bus.subscribe(self._bus.topic(channel))

    async def unsubscribe(self, channel: ChannelName) -> None:
        """Stop hearing the channel's topic. Promise 6."""
        await self._bus.unsubscribe(self._bus.topic(channel))

    def listen(self) -> AsyncIterator[Hint]:
        """All hints. Promises 1, 2, 5."""
        return self._queue.listen()

    def _take(self, topic: str, payload: bytes) -> None:
        try:
            event = decode_hint(self._bus.channel_of(topic), payload)
        except DecodeError as error:
            _log.warning("hint.refused", topic=topic, problem=str(error)[:MAX_PROBLEM_CHARS])
            return
        self._queue.put(event)
