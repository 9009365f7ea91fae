"""The broadcast over Redis pub/sub, by way of the bus.

Other processes may publish in Redis, too, and so send a hint. A hint without the cluster's seal is not delivered: its
channel is compared with the log, so that an event of a replica that seals otherwise, or not yet, comes all the same.
"""

from collections.abc import AsyncIterator

import structlog

from server.adapters.codec import DecodeError
from server.adapters.hints import WAITING_LIMIT, HintQueue, Undecoded
from server.adapters.redis.bus import RedisBus
from server.adapters.redis.hints import MAX_BYTES, cut_seal, decode_hint, encode_hint, sealed
from server.adapters.redis.own import OwnEvents
from server.adapters.refusals import Refusals
from server.adapters.seal import Seal
from server.domain.channels import ChannelName
from server.domain.events import Event, LogEvent
from server.ports.broadcast import Broadcast, Hint

MAX_PROBLEM_CHARS = 200
"""Of the reason in the log line about a hint: it may quote the hint."""

_log = structlog.get_logger("maru.redis")


class RedisBroadcast(Broadcast):
    """Hints to every replica that hosts the channel and has the same `seal`. `own` are the messages that this replica
    writes."""

    def __init__(self, bus: RedisBus, seal: Seal, limit: int = WAITING_LIMIT, own: OwnEvents | None = None) -> None:
        self._bus, self._seal, self._own = bus, seal, own or OwnEvents()
        self._refusals = Refusals()
        self._queue = HintQueue(limit)
        bus.on_hint = self._take
        bus.on_restored.append(self._queue.put_restored)
        bus.on_moved.append(self._queue.put_restored)

    @property
    def dropped(self) -> int:
        """How many hints had no room in the queue."""
        return self._queue.dropped

    @property
    def refused(self) -> int:
        """How many hints were not believed."""
        return self._refusals.count

    async def publish(self, event: LogEvent) -> None:
        """Publish behind everything published before. Promises 1, 4."""
        topic = self._bus.topic(event.channel)
        await self._bus.publish(topic, sealed(encode_hint(event), topic, self._seal))

    async def subscribe(self, channel: ChannelName) -> None:
        """Hear the channel's topic. Promise 3."""
        await self._bus.subscribe(self._bus.topic(channel))

    async def unsubscribe(self, channel: ChannelName) -> None:
        """Stop hearing the channel's topic. Promise 6."""
        await self._bus.unsubscribe(self._bus.topic(channel))

    def listen(self) -> AsyncIterator[Hint]:
        """All hints. Promises 1, 2, 5."""
        return self._queue.listen()

    def believed(self, channel: ChannelName, topic: str, payload: bytes) -> Event | None:
        """Return the event of a hint; None if it need not be one."""
        try:
            return self._event(channel, topic, payload)
        except DecodeError as error:
            if self._refusals.add():
                problem = str(error)[:MAX_PROBLEM_CHARS]
                _log.warning("hint.refused", topic=topic, problem=problem, refused=self._refusals.count)
            return None

    def _event(self, channel: ChannelName, topic: str, payload: bytes) -> Event:
        if len(payload) > MAX_BYTES:
            raise DecodeError("too long")
        hint, seal = cut_seal(payload)
        own = self._own.take(channel, hint)  # needs no seal: the log has told what stands there
        if own is not None:
            return own
        if not self._seal.fits(seal, topic.encode(), hint):
            raise DecodeError("sealed with another secret" if seal else "not sealed")
        return decode_hint(channel, hint)

    def _take(self, topic: str, payload: bytes) -> None:
        self._queue.put(_Heard(self, self._bus.channel_of(topic), topic, payload[: MAX_BYTES + 1]))


class _Heard(Undecoded):
    """A hint as it came. By the time that the listener takes it, the log may have answered with the event."""

    __slots__ = ("_broadcast", "_payload", "_topic", "channel")

    def __init__(self, broadcast: RedisBroadcast, channel: ChannelName, topic: str, payload: bytes) -> None:
        self._broadcast, self.channel, self._topic, self._payload = broadcast, channel, topic, payload

    def event(self) -> Event | None:
        return self._broadcast.believed(self.channel, self._topic, self._payload)
