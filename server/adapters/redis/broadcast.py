"""The broadcast over Redis pub/sub, by way of the bus."""

from collections.abc import AsyncIterator

import structlog

from server.adapters import codec
from server.adapters.codec import DecodeError
from server.adapters.hints import WAITING_LIMIT, HintQueue
from server.adapters.redis.bus import RedisBus
from server.domain.channels import ChannelName
from server.domain.events import Event, MessageCreated, MessageEdited, MessageEvent
from server.domain.limits import MAX_DATA_DEPTH
from server.domain.nesting import is_deeper
from server.ports.broadcast import Broadcast, Hint

MAX_BYTES = 256 * 1024
"""Of a hint; the largest message takes less, however it is escaped."""

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
        await self._bus.publish(self._bus.topic(event.channel), codec.encode_event(event))

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
            event = _judged(payload)
            if self._bus.topic(event.channel) != topic:
                raise DecodeError("it belongs to another channel")
        except DecodeError as error:
            _log.warning("hint.refused", topic=topic, problem=str(error)[:MAX_PROBLEM_CHARS])
            return
        self._queue.put(event)


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
