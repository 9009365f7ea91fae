"""The server's client manager in a cluster: python-socketio's `AsyncRedisManager`, with what a cluster of Maru needs.

Beside the stock shared topic, on which a write-only `AsyncRedisManager` in any process can emit an unlogged event into
a channel, there is one topic per channel, heard only while it is subscribed. Publishing is ordered, pipelined, and an
error where it fails; the listener (listener.py) reconnects within a second, and notices when it has gone deaf.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import orjson
import socketio
import structlog
from redis.exceptions import RedisError

from server.adapters.redis.foreign import NAMESPACE, foreign_emit
from server.adapters.redis.link import connect
from server.adapters.redis.listener import PULSE_S, Listener
from server.adapters.redis.pipeline import Pipeline
from server.adapters.rooms import Rooms
from server.domain.errors import Unavailable

SHARED_TOPIC = "socketio"
"""Where stock managers publish, unless they are told otherwise."""

_log = structlog.get_logger("maru.redis")


class RedisRooms(Rooms, socketio.AsyncRedisManager):
    """Rooms, and a link to the other replicas. `run` is the listener; it is started, and ended, by its owner.

    `on_hint(topic, payload)` gets what arrives on subscribed topics, `on_restored()` is called when the link is whole
    again (also for the first time): what was published before may have been missed. Raises `ValueError` on a bad `url`.
    """

    def __init__(self, url: str, *, shared_topic: str = SHARED_TOPIC, pulse_s: float = PULSE_S) -> None:
        super().__init__(url=url, channel=shared_topic)
        self.on_hint: Callable[[str, bytes], None] = lambda _topic, _payload: None
        self.on_restored: Callable[[], None] = lambda: None
        self.refused = 0
        self._publisher = Pipeline(connect(url))
        self._listener = Listener(url, shared_topic, self.publish, self._receive, self._restored, pulse_s)

    def initialize(self) -> None:
        """Start nothing: the stock listener is replaced by `run`."""

    @property
    def linked(self) -> asyncio.Event:
        """Set while the listener hears."""
        return self._listener.linked

    @property
    def losses(self) -> int:
        """How often the link was lost; the tries that fail after it are none."""
        return self._listener.losses

    @property
    def deaf(self) -> int:
        """How often the listener was opened anew because it heard nothing."""
        return self._listener.deaf

    async def run(self) -> None:
        """Keep the link until cancelled."""
        await self._listener.run()

    async def aclose(self) -> None:
        """Close the publisher."""
        await self._publisher.aclose()

    async def publish(self, topic: str, payload: bytes) -> None:
        """Publish behind everything published before. Raises `Unavailable`, `Overloaded`."""
        try:
            await self._publisher.execute("PUBLISH", topic, payload)
        except RedisError as error:
            raise Unavailable(f"Redis refuses to publish ({type(error).__name__})") from error

    async def subscribe(self, topic: str) -> None:
        """Hear a topic; when this returns, Redis has confirmed it. Raises `Unavailable`."""
        await self._listener.subscribe(topic)

    async def unsubscribe(self, topic: str) -> None:
        """Stop hearing a topic."""
        await self._listener.unsubscribe(topic)

    # What python-socketio calls

    async def _publish(self, data: dict[str, Any]) -> None:
        await self.publish(self.channel, orjson.dumps(data))

    async def _handle_emit(self, message: dict[str, Any]) -> None:
        """Deliver nothing first: what is published comes back here too, in the same order for every replica."""

    def _restored(self) -> None:
        self.on_restored()

    async def _receive(self, topic: str, payload: bytes) -> None:
        if topic == self.channel:
            await self._receive_foreign(payload)
        else:
            self.on_hint(topic, payload)

    async def _receive_foreign(self, payload: bytes) -> None:
        """Deliver what another process emits into a channel, after a good look: whoever can publish can send this."""
        emitted = foreign_emit(payload)
        if emitted is None:
            self.refused += 1
            _log.warning("foreign.refused", bytes=len(payload), refused=self.refused)
            return
        event, data, room = emitted
        if self.members(NAMESPACE, room):  # a channel: never the one client whose `sid` this might be
            await super().emit(event, data, NAMESPACE, room=room, ignore_queue=True)
