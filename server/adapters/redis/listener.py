"""The connection on which a replica hears from the others. It is reopened if it breaks, or hears nothing any more."""

import asyncio
import contextlib
import math
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError

from server.adapters.loops import first_to_fail
from server.adapters.redis.connection import introduce
from server.adapters.redis.link import ANSWER_TIMEOUT_S, close, connect, make_connection, open_connection, write
from server.adapters.redis.master import Master, NotMaster
from server.adapters.redis.topics import Topics
from server.domain.errors import MaruError, Unavailable

PULSE_S = 5.0
"""How often a replica calls itself through Redis."""

UNHEARD_CALLS = 2
"""So many calls that went out and did not come back mean that the listener is deaf: after 15 s at the most."""

NONCE_BYTES = 16
"""A call is random, so that no stranger's counts for it."""

RETRY_S = 0.1
RETRY_CAP_S = 0.8
"""Pauses between tries to reconnect; the cap is below the second within which a link is to be back."""

SUBSCRIBE_WAIT_S = 1.5
SUBSCRIBE_BATCH = 500

_log = structlog.get_logger("maru.redis")


class Deaf(OSError):
    """The listener is connected and hears nothing."""


@dataclass(frozen=True, slots=True)
class Hearing:
    """What a listener hands on, and how it calls itself; see `Listener`. `moved` is called when topics are heard from
    another node of a cluster, and may have been missed; nothing else was."""

    publish: Callable[[str, bytes], Awaitable[int]]
    receive: Callable[[str, bytes], Awaitable[None]]
    restored: Callable[[], None]
    moved: Callable[[], None]
    pulse_s: float


class Listener:
    """Hears some topics `always`, of which the last is for the replica's calls to itself, and others while they are
    subscribed. `run` is started, and ended, by its owner.

    `receive(topic, payload)` gets what arrives, in the order of arrival; it is awaited, and must not fail. `restored()`
    is called when the link is whole again, also for the first time: what was published before may have been missed.
    `publish` sends the replica's calls to itself, and returns how many listeners its node has sent them to; they go
    another way than they come back, and nobody else can make them. `losses` and `deaf` count how often the link was
    lost, and how often it had to be given up since nothing came back.
    """

    def __init__(
        self,
        url: str,
        master: Master,
        always: Sequence[str],
        hearing: Hearing,
        place: Mapping[str, str] | None = None,
    ) -> None:
        self.linked = asyncio.Event()
        self.losses = self.deaf = 0
        self._url, self._master, self._pulse_s = url, master, hearing.pulse_s
        self._always, self._pulse = always, always[-1]
        self._publish, self._receive, self._restored = hearing.publish, hearing.receive, hearing.restored
        self._topics = Topics()
        self._connection: AbstractConnection | None = None
        self._sending = asyncio.Lock()
        self._unheard: set[bytes] = set()  # calls that went out and did not come back
        self._away = False
        self._place = place or {}  # for log lines: where it listens

    async def subscribe(self, topic: str) -> None:
        """Hear a topic; when this returns, Redis has confirmed it. Raises `Unavailable`; the topic is wanted all the
        same, and heard once the link is back, until `unsubscribe`."""
        confirmed = self._topics.want(topic)
        try:
            async with asyncio.timeout(SUBSCRIBE_WAIT_S):
                await self._ask(topic)
                await confirmed
        except (TimeoutError, RedisError, OSError) as error:
            raise Unavailable("Redis does not confirm the subscription") from error
        finally:
            if not confirmed.cancel() and not confirmed.cancelled():
                confirmed.exception()  # if asking has failed, nobody else takes it

    async def unsubscribe(self, topic: str) -> None:
        """Stop hearing a topic."""
        self._topics.unwant(topic)
        with contextlib.suppress(TimeoutError, RedisError, OSError):  # then the next connection does not ask for it
            async with asyncio.timeout(SUBSCRIBE_WAIT_S):
                await self._ask(topic)

    async def _ask(self, topic: str) -> None:
        """Send commands singly, in order; without a link none: connecting asks for all topics that are wanted."""
        async with self._sending:
            if self._connection is not None:
                command = self._topics.ask(topic)
                if command is not None:
                    await write(self._connection, self._worded(command, (topic,)))

    async def run(self) -> None:
        """Keep the link until cancelled."""
        pause = RETRY_S
        while True:
            began = time.monotonic()
            try:
                await self._listen()
            except (RedisError, OSError, TimeoutError) as error:
                self.lost(error)
            pause = RETRY_S if time.monotonic() - began > RETRY_CAP_S else min(pause * 2, RETRY_CAP_S)
            await asyncio.sleep(pause)

    async def _listen(self) -> None:
        """Connect, ask for every topic, hand on what comes, until the connection fails."""
        client = connect(self._url)
        connection = make_connection(client)
        generation = self._master.generation
        try:
            await open_connection(connection)
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                await introduce(connection, self._master)
            async with self._sending:
                await self._ask_for(connection, [*self._always, *self._topics.ask_all()])
                # Answered behind the subscriptions: then all of them are in force.
                await write(connection, ("PING",))
                self._connection = connection
            self._unheard.clear()
            await first_to_fail(self.hear(connection), self._call(), self._leave(generation))
        finally:
            self._connection = None
            with contextlib.suppress(RedisError, OSError):
                await connection.disconnect(nowait=True)
            await close(client)

    async def _ask_for(self, connection: AbstractConnection, topics: Sequence[str]) -> None:
        for start in range(0, len(topics), SUBSCRIBE_BATCH):
            await write(connection, self._worded("SUBSCRIBE", topics[start : start + SUBSCRIBE_BATCH]))

    def _worded(self, command: str, topics: Sequence[str]) -> tuple[str, ...]:
        """Return the command as it is sent."""
        return (command, *topics)

    async def hear(self, connection: AbstractConnection) -> None:
        """Hand on what comes. It may be silent for hours; `_call` tells silence from deafness."""
        while True:
            await self.take(await connection.read_response(timeout=math.inf))

    async def _call(self) -> None:
        """Call ourselves through Redis; `Deaf` if the calls go out and nothing comes back."""
        while True:
            await asyncio.sleep(self._pulse_s)
            if len(self._unheard) >= UNHEARD_CALLS:
                self.deaf += 1
                raise Deaf("connected, but hears nothing")
            with contextlib.suppress(MaruError):  # then it is not the listener that fails
                listeners = await self._shout()
                # A call reaches a demoted node, too, by way of the new master: only its count tells.
                if listeners == 0 and self.linked.is_set():
                    raise NotMaster("connected to another node than is published to")

    async def _shout(self) -> int:
        """Publish a call. It may be heard before Redis' answer is; a call that did not go out tells nothing."""
        call = secrets.token_bytes(NONCE_BYTES)
        self._unheard.add(call)
        try:
            return await self._publish(self._pulse, call)
        except MaruError:
            self._unheard.discard(call)
            raise

    async def _leave(self, generation: int) -> None:
        """Fail once the connections of the process have to be made again."""
        await self._master.renewed(generation)
        raise NotMaster("the node is no longer the master")

    async def take(self, message: list[Any]) -> None:
        match message:
            case [b"message", topic, payload]:
                name = topic.decode()
                if name == self._pulse:
                    if payload in self._unheard:
                        self._unheard.clear()
                else:
                    await self._receive(name, payload)
            case [b"subscribe", topic, _]:
                self._topics.confirm(topic.decode())
            case [b"pong", _]:
                self._away = False
                self.linked.set()
                _log.info("redis.linked", topics=len(self._topics), **self._place)
                self._restored()
            case _:
                pass  # an unsubscription is done: nobody waits for it

    def lost(self, error: BaseException) -> None:
        """Log that the link is lost; tries that fail after it are not logged."""
        self.losses += self.linked.is_set()
        self.linked.clear()
        if not self._away:
            self._away = True
            _log.warning("redis.away", problem=f"{type(error).__name__}: {error}", **self._place)
