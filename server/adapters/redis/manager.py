"""The server's client manager in a cluster: python-socketio's `AsyncRedisManager`, with what a cluster of Maru needs.

Beside the stock shared topic, on which a write-only `AsyncRedisManager` in any process can emit an unlogged event into
a channel, there is one topic per channel, heard only while it is subscribed. Publishing is ordered, pipelined, and an
error where it fails; the listener reconnects within a second, and notices when it has gone deaf.
"""

import asyncio
import math
import secrets
import time
from collections.abc import Callable
from typing import Any

import orjson
import socketio
import structlog
from redis.exceptions import RedisError

from server.adapters.redis import keys
from server.adapters.redis.foreign import NAMESPACE, foreign_emit
from server.adapters.redis.link import connect
from server.adapters.redis.pipeline import Pipeline
from server.adapters.rooms import Rooms
from server.domain.errors import MaruError, Unavailable

PULSE_S = 5.0
"""How often a replica calls itself through Redis."""

DEAF_S = 12.0
"""Without an answer to its own calls for so long, though they were sent, the listener is deaf: it is opened anew."""

RETRY_S = 0.1
RETRY_CAP_S = 0.8
"""Pauses between tries to reconnect; the cap is below the second within which a link is to be back."""

SUBSCRIBE_WAIT_S = 1.5
SUBSCRIBE_BATCH = 500

_log = structlog.get_logger("maru.redis")


class Deaf(OSError):
    """The listener is connected and hears nothing."""


class RedisRooms(Rooms, socketio.AsyncRedisManager):
    """Rooms, and a link to the other replicas. `run` is the listener; it is started, and ended, by its owner.

    `on_hint(topic, payload)` gets what arrives on subscribed topics, `on_restored()` is called when the link is whole
    again (also for the first time): what was published before may have been missed.
    """

    def __init__(self, url: str, *, shared_topic: str = "socketio") -> None:
        super().__init__(url=url, channel=shared_topic)
        self.on_hint: Callable[[str, bytes], None] = lambda _topic, _payload: None
        self.on_restored: Callable[[], None] = lambda: None
        self.linked = asyncio.Event()
        self.deaf = 0
        self.refused = 0
        self._url = url
        self._pulse = keys.pulse(secrets.token_hex(8))
        self._publisher = Pipeline(connect(url))
        self._connection: Any = None
        self._topics: set[str] = set()
        self._confirmations: dict[str, list[asyncio.Future[None]]] = {}
        self._sending = asyncio.Lock()
        self._heard_at = 0.0

    # Publishing

    async def publish(self, topic: str, payload: bytes) -> None:
        """Publish behind everything published before. Raises `Unavailable`, `Overloaded`."""
        try:
            await self._publisher.execute("PUBLISH", topic, payload)
        except RedisError as error:
            raise Unavailable(f"Redis refuses to publish ({type(error).__name__})") from error

    async def _publish(self, data: dict[str, Any]) -> None:
        await self.publish(self.channel, orjson.dumps(data))

    # Subscribing

    async def subscribe(self, topic: str) -> None:
        """Hear a topic; when this returns, Redis has confirmed it. Raises `Unavailable`."""
        self._topics.add(topic)
        confirmed = asyncio.get_running_loop().create_future()
        self._confirmations.setdefault(topic, []).append(confirmed)
        try:
            async with asyncio.timeout(SUBSCRIBE_WAIT_S):
                await self._send("SUBSCRIBE", topic)
                await confirmed
        except (TimeoutError, RedisError, OSError) as error:
            raise Unavailable("Redis does not confirm the subscription") from error
        finally:
            waiting = self._confirmations.get(topic, [])
            if confirmed in waiting:
                waiting.remove(confirmed)
            if not waiting:
                self._confirmations.pop(topic, None)

    async def unsubscribe(self, topic: str) -> None:
        """Stop hearing a topic."""
        self._topics.discard(topic)
        try:
            await self._send("UNSUBSCRIBE", topic)
        except (RedisError, OSError):
            return  # the link is down; when it is back, this topic is not among those it asks for

    async def _send(self, command: str, topic: str) -> None:
        """One command at a time, in order; without a link, nothing: connecting asks for all topics there are."""
        async with self._sending:
            if self._connection is not None and (topic in self._topics) == (command == "SUBSCRIBE"):
                await self._connection.send_command(command, topic)

    # Listening

    async def run(self) -> None:
        """Keep the link until cancelled."""
        pause = RETRY_S
        while True:
            began = time.monotonic()
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._listen(tasks))
            except* (RedisError, OSError, TimeoutError) as group:
                self._lost(group.exceptions[0])
            pause = RETRY_S if time.monotonic() - began > RETRY_CAP_S else min(pause * 2, RETRY_CAP_S)
            await asyncio.sleep(pause)

    async def aclose(self) -> None:
        """Close the publisher."""
        await self._publisher.aclose()

    async def _listen(self, tasks: asyncio.TaskGroup) -> None:
        """Connect, ask for every topic, hand on what comes, until the connection fails."""
        client = connect(self._url)
        connection = await client.connection_pool.get_connection()  # type: ignore[no-untyped-call]
        try:
            async with self._sending:
                topics = [self.channel, self._pulse, *self._topics]
                for start in range(0, len(topics), SUBSCRIBE_BATCH):
                    await connection.send_command("SUBSCRIBE", *topics[start : start + SUBSCRIBE_BATCH])
                # Answered behind the subscriptions: then all of them are in force.
                await connection.send_command("PING")
                self._connection = connection
            self._heard_at = time.monotonic()
            tasks.create_task(self._call())
            while True:
                # It may be silent for hours; `_call` tells silence from deafness.
                await self._take(await connection.read_response(timeout=math.inf))
        finally:
            self._connection = None
            await connection.disconnect(nowait=True)
            await client.aclose()

    async def _call(self) -> None:
        """Call ourselves through Redis; `Deaf` where the calls go out and nothing comes back."""
        called = self._heard_at
        while True:
            await asyncio.sleep(PULSE_S)
            if called - self._heard_at > DEAF_S:
                self.deaf += 1
                raise Deaf
            try:
                await self.publish(self._pulse, b"")
                called = time.monotonic()
            except MaruError:
                continue  # it is not the listener that fails; `called` stands still with it

    async def _take(self, message: list[Any]) -> None:
        match message:
            case [b"message", topic, payload]:
                await self._receive(topic.decode(), payload)
            case [b"subscribe", topic, _]:
                for confirmed in self._confirmations.pop(topic.decode(), []):
                    if not confirmed.done():
                        confirmed.set_result(None)
            case [b"pong", _]:
                self.linked.set()
                _log.info("redis.linked", topics=len(self._topics))
                self.on_restored()
            case _:
                pass  # an unsubscription is done, a pulse is answered: nobody waits for it

    async def _receive(self, topic: str, payload: bytes) -> None:
        if topic == self._pulse:
            self._heard_at = time.monotonic()
        elif topic == self.channel:
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
        await super().emit(event, data, NAMESPACE, room=room, ignore_queue=True)

    def _lost(self, error: BaseException) -> None:
        if self.linked.is_set():
            _log.warning("redis.lost", problem=type(error).__name__)
        self.linked.clear()
