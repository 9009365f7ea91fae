"""The link to the other replicas: python-socketio's `AsyncRedisManager`, used without a server.

Beside the stock shared topic, on which a write-only `AsyncRedisManager` in any process can emit an event into a
channel, each channel has a topic, heard only while it is subscribed. Publishing is ordered, pipelined, and
an error if it fails; the listener (listener.py) reconnects within a second, and notices if it hears nothing any more.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import orjson
import socketio
import structlog
from redis.exceptions import RedisError

from server.adapters.redis import keys, ways
from server.adapters.redis.cluster.addresses import is_cluster
from server.adapters.redis.foreign import foreign_emit
from server.adapters.redis.listener import PULSE_S, Hearing
from server.adapters.redis.master import Master
from server.adapters.refusals import Refusals
from server.domain.channels import ChannelName
from server.domain.errors import Unavailable
from server.domain.pushes import Emitted

SIGNAL_MARK = b"~"
"""The first byte of a signal on a channel's topic. No epoch, and so no hint, begins with it."""

_log = structlog.get_logger("maru.redis")


class RedisBus(socketio.AsyncRedisManager):
    """Topics that every replica can publish to and hear. `run` is the listener; its owner starts and ends it.

    Callbacks get the messages that arrive: `on_hint(topic, payload)` those of subscribed topics, `on_signal` the
    signals among them. Each of `on_restored` is called when the link is whole again (also for the first time): messages
    published before may have been missed. Each of `on_moved` is called when other nodes of a cluster have some topics,
    without an outage: messages may have been missed, and no key was lost. `on_emit(channel, emitted)` gets the events
    that other processes emit. Raises `ValueError` on a bad `url`.
    """

    def __init__(
        self,
        url: str,
        master: Master | None = None,
        *,
        prefix: str = keys.PREFIX,
        pulse_s: float = PULSE_S,
    ) -> None:
        self._prefix, self._db, self._sharded = prefix, ways.database(url), is_cluster(url)
        shared = keys.shared_topic(prefix, self._db)
        super().__init__(url=url, channel=shared)
        self.on_hint: Callable[[str, bytes], None] = lambda _topic, _payload: None
        self.on_signal: Callable[[str, bytes], None] = lambda _topic, _payload: None
        self.on_restored: list[Callable[[], None]] = []
        self.on_moved: list[Callable[[], None]] = []
        self.on_emit: Callable[[ChannelName, Emitted], None] = lambda _channel, _emitted: None
        self._refusals = Refusals()
        master = master or Master()
        self._publisher = ways.pipeline(url, master)
        hearing = Hearing(self.publish, self._receive, self._restored, self._moved, pulse_s)
        self._listener = ways.listener(url, master, shared, prefix, hearing)

    def initialize(self) -> None:
        """Start nothing: `run` replaces the stock listener."""

    def topic(self, channel: ChannelName) -> str:
        """Return the topic of a channel's hints."""
        if self._sharded:
            return keys.sharded_topic(channel, self._prefix)
        return keys.topic(channel, self._prefix, self._db)

    def channel_of(self, topic: str) -> ChannelName:
        """Return the channel of a topic."""
        if self._sharded:
            return keys.sharded_topic_channel(topic, self._prefix)
        return keys.topic_channel(topic, self._prefix, self._db)

    @property
    def linked(self) -> asyncio.Event:
        """Set while the listener hears."""
        return self._listener.linked

    @property
    def losses(self) -> int:
        """How often the link was lost; failed tries to reconnect do not count."""
        return self._listener.losses

    @property
    def deaf(self) -> int:
        """How often the listener was reopened because it heard nothing."""
        return self._listener.deaf

    @property
    def refused(self) -> int:
        """How many emits of other processes were not passed on."""
        return self._refusals.count

    async def run(self) -> None:
        """Keep the link until cancelled."""
        await self._listener.run()

    async def aclose(self) -> None:
        """Close the publisher."""
        await self._publisher.aclose()

    async def publish(self, topic: str, payload: bytes) -> int:
        """Publish behind everything published before. Return how many listeners of the same node hear it. Raises
        `Unavailable`, `Overloaded`."""
        try:
            listeners: int = await self._publisher.execute(self._word(topic), topic, payload)
        except RedisError as error:
            raise Unavailable(f"Redis refuses to publish ({type(error).__name__})") from error
        return listeners

    def tell(self, topic: str, payload: bytes, failed: Callable[[], None]) -> None:
        """Publish without waiting. `failed` is called if it can't be done, or not yet be done among so many others."""
        if self._publisher.crowded:
            failed()
        else:
            told = self._publisher.submit((self._word(topic), topic, payload), _is_error)
            told.add_done_callback(partial(_count, failed))

    async def subscribe(self, topic: str) -> None:
        """Hear a topic; when this returns, Redis has confirmed it. Raises `Unavailable`."""
        await self._listener.subscribe(topic)

    async def unsubscribe(self, topic: str) -> None:
        """Stop hearing a topic."""
        await self._listener.unsubscribe(topic)

    async def _publish(self, data: dict[str, Any]) -> None:
        """Publish an `emit` of python-socketio: in order, and with an error if it fails."""
        await self.publish(self.channel, orjson.dumps(data))

    def _word(self, topic: str) -> str:
        """Return the command that publishes. In a cluster a channel's topic is known to one node, the shared to all."""
        return "SPUBLISH" if self._sharded and topic != self.channel else "PUBLISH"

    def _restored(self) -> None:
        for restored in self.on_restored:
            restored()

    def _moved(self) -> None:
        for moved in self.on_moved:
            moved()

    async def _receive(self, topic: str, payload: bytes) -> None:
        """Pass on a message. Anybody who can publish can send this: no fault at it may end the listener."""
        try:
            if topic == self.channel:
                self._receive_emit(payload)
            elif payload.startswith(SIGNAL_MARK):
                self.on_signal(topic, payload)
            else:
                self.on_hint(topic, payload)
        except Exception:  # noqa: BLE001  # whatever it is, it costs this message alone
            _log.exception("redis.message_failed", topic=topic)

    def _receive_emit(self, payload: bytes) -> None:
        """Pass on an event that another process emits into a channel, if it may be one."""
        emit = foreign_emit(payload)
        if emit is None:
            if self._refusals.add():
                _log.warning("foreign.refused", bytes=len(payload), refused=self.refused)
            return
        self.on_emit(*emit)


def _is_error(answer: Any) -> bool:
    return isinstance(answer, RedisError)


def _count(failed: Callable[[], None], told: asyncio.Future[bool]) -> None:
    if told.cancelled() or told.exception() is not None or told.result():
        failed()
