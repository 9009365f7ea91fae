"""The connection on which a replica hears notices. It is opened again if it breaks, or hears nothing any more."""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from asyncpg import Connection

from server.adapters.loops import first_to_fail
from server.adapters.postgres.connections import connect
from server.adapters.postgres.errors import ERRORS
from server.adapters.postgres.notices import wanted
from server.adapters.refusals import Refusals
from server.domain.channels import ChannelName
from server.domain.errors import MaruError, Unavailable

PULSE_S = 5.0
"""How often a replica calls itself through PostgreSQL."""

UNHEARD_CALLS = 2
"""So many calls that went out and did not come back mean that the listener is deaf: after 15 s at the most."""

NONCE_BYTES = 16
"""A call is random, so that no stranger's counts for it."""

RETRY_S = 0.1
RETRY_CAP_S = 0.8
"""Pauses between tries to reconnect; the cap is below the second within which a link is to be back."""

ANSWER_S = 1.0
SUBSCRIBE_WAIT_S = 1.5

_log = structlog.get_logger("maru.postgres")


class Deaf(OSError):
    """The listener is connected and hears nothing."""


class Listener:
    """Hears the notices of `topic`, and passes on the payloads of channels while they are subscribed.

    `receive(channel, payload)` gets them in the order of arrival. `restored()` is called when the link is whole again,
    also for the first time. `publish` sends the replica's calls to itself, which go another way than they come back.
    `losses` and `deaf` count how often the link was lost, and how often nothing came back.
    """

    def __init__(
        self,
        url: str,
        topic: str,
        publish: Callable[[ChannelName, bytes], Awaitable[None]],
        receive: Callable[[ChannelName, bytes], None],
        restored: Callable[[], None],
        pulse_s: float,
    ) -> None:
        self.linked = asyncio.Event()
        self.losses = self.deaf = 0
        self._url, self._topic, self._pulse_s = url, topic, pulse_s
        self._publish, self._receive, self._restored = publish, receive, restored
        self._pulse = ChannelName(f"~{secrets.token_hex(8)}")  # no channel has such a name
        self._hosted: set[str] = {self._pulse}
        self._fences: dict[asyncio.Future[None], None] = {}  # subscriptions that the next answer confirms
        self._asked = asyncio.Event()  # an answer is wanted
        self._unheard: set[bytes] = set()  # calls that went out and did not come back
        self._refusals = Refusals()
        self._away = False

    @property
    def refused(self) -> int:
        """How many notices made no sense."""
        return self._refusals.count

    async def subscribe(self, channel: ChannelName) -> None:
        """Hear a channel; when this returns, all notices that were sent before have come. Raises `Unavailable`; the
        channel is heard all the same once the link is back, until `unsubscribe`."""
        self._hosted.add(channel)
        confirmed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._fences[confirmed] = None
        self._asked.set()
        try:
            async with asyncio.timeout(SUBSCRIBE_WAIT_S):
                await confirmed
        except TimeoutError as error:
            raise Unavailable("PostgreSQL does not confirm the subscription") from error
        finally:
            self._fences.pop(confirmed, None)

    def unsubscribe(self, channel: ChannelName) -> None:
        """Stop hearing a channel."""
        self._hosted.discard(channel)

    def doubt(self) -> None:
        """See now whether PostgreSQL still answers."""
        self._asked.set()

    async def run(self) -> None:
        """Keep the link until cancelled."""
        pause = RETRY_S
        while True:
            began = time.monotonic()
            try:
                await self._listen()
            except ERRORS as error:
                self._lost(error)
            pause = RETRY_S if time.monotonic() - began > RETRY_CAP_S else min(pause * 2, RETRY_CAP_S)
            await asyncio.sleep(pause)

    async def _listen(self) -> None:
        """Connect, and hear, until the connection fails."""
        ended = asyncio.Event()
        connection = await connect(self._url)
        try:
            connection.add_termination_listener(lambda _: ended.set())
            async with asyncio.timeout(ANSWER_S):
                await connection.add_listener(self._topic, self._take)
            self._unheard.clear()
            self._away = False
            self.linked.set()
            _log.info("postgres.linked", channels=len(self._hosted) - 1)
            self._restored()
            self._asked.set()  # by those that came while the link was away
            await first_to_fail(self._confirm(connection), self._call(), _fail_after(ended))
        finally:
            connection.terminate()

    async def _confirm(self, connection: Connection) -> None:
        """Ask PostgreSQL for an answer: it comes behind all notices of transactions that have ended."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            asking = list(self._fences)
            async with asyncio.timeout(ANSWER_S):
                await connection.execute("SELECT 1")
            for fence in asking:
                if not fence.done():
                    fence.set_result(None)

    async def _call(self) -> None:
        """Call ourselves through PostgreSQL; `Deaf` if the calls go out and nothing comes back."""
        while True:
            await asyncio.sleep(self._pulse_s)
            if len(self._unheard) >= UNHEARD_CALLS:
                self.deaf += 1
                raise Deaf("connected, but hears nothing: a pooler can't listen, see MARU_POSTGRES_LISTEN_URL")
            self.doubt()
            call = secrets.token_bytes(NONCE_BYTES)
            self._unheard.add(call)
            try:
                await self._publish(self._pulse, call)
            except MaruError:  # then it is not the listener that fails
                self._unheard.discard(call)

    def _take(self, _connection: Any, _pid: int, _topic: str, notice: str) -> None:
        """Pass on what is heard. Anybody in the database can notify: no fault at it may end the listener."""
        try:
            for channel, payload in wanted(notice, self._hosted):
                if channel != self._pulse:
                    self._receive(channel, payload)
                elif payload in self._unheard:
                    self._unheard.clear()
        except ValueError:
            if self._refusals.add():
                _log.warning("postgres.notice_refused", refused=self.refused)

    def _lost(self, error: Exception) -> None:
        """Log that the link is lost; tries that fail after it are not logged."""
        self.losses += self.linked.is_set()
        self.linked.clear()
        if not self._away:
            self._away = True
            _log.warning("postgres.unlinked", problem=f"{type(error).__name__}: {error}".partition("\n")[0])


async def _fail_after(ended: asyncio.Event) -> None:
    await ended.wait()
    raise ConnectionResetError("PostgreSQL has ended the connection")
