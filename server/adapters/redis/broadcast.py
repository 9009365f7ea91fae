"""The broadcast over Redis pub/sub, by way of the bus."""

from collections.abc import AsyncIterator

import structlog

from server.adapters.codec import DecodeError
from server.adapters.hints import WAITING_LIMIT, HintQueue, Undecoded
from server.adapters.redis.bus import RedisBus
from server.adapters.redis.hints import MAX_BYTES, decode_hint, encode_hint
from server.adapters.redis.own import OwnEvents
from server.domain.channels import ChannelName
from server.domain.events import Event, MessageEvent
from server.ports.broadcast import Broadcast, Hint

MAX_PROBLEM_CHARS = 200
"""Of the reason in the log line about a hint: it may quote the hint."""

_log = structlog.get_logger("maru.redis")


class RedisBroadcast(Broadcast):
    """Hints to every replica that hosts the channel. `own` are the messages that this replica writes."""

    def __init__(self, bus: RedisBus, limit: int = WAITING_LIMIT, own: OwnEvents | None = None) -> None:
        self._bus, self._own = bus, own or OwnEvents()
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
        self._queue.put(_Heard(self._bus.channel_of(topic), topic, payload[: MAX_BYTES + 1], self._own))


class _Heard(Undecoded):
    """A hint as it came. By the time that the listener takes it, the log may have answered with the event."""

    __slots__ = ("_own", "_payload", "_topic", "channel")

    def __init__(self, channel: ChannelName, topic: str, payload: bytes, own: OwnEvents) -> None:
        self.channel, self._topic, self._payload, self._own = channel, topic, payload, own

    def event(self) -> Event | None:
        try:
            return self._own.take(self.channel, self._payload) or decode_hint(self.channel, self._payload)
        except DecodeError as error:
            _log.warning("hint.refused", topic=self._topic, problem=str(error)[:MAX_PROBLEM_CHARS])
            return None
