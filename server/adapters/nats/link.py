"""The connection to NATS: reconnected for ever, with a deadline for every answer, and errors that clients can be told.

The library's own reconnecting is not used: it keeps messages of an outage and sends them later, gives up after
some errors of the server, and does not notice in time that a server says nothing any more.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Self

import structlog
from nats.js import JetStreamContext

from server.adapters.nats import address
from server.adapters.nats.client import FAILURES, OPEN_S, MaruClient
from server.adapters.nats.echo import Echo
from server.domain.errors import Unavailable

ANSWER_S = 1.7
"""For whatever a caller waits for: 2 s in all (promise 9 of the log's port)."""

PULSE_S = 1.0
"""How often the link calls itself through the server."""

UNHEARD_PULSES = 3
"""So many pulses without an answer mean that the server is frozen, or the way to it is cut."""

RETRY_S = 0.1
RETRY_CAP_S = 0.8
"""Pauses between tries to reconnect; the cap is below the second within which a link is to be back."""

_log = structlog.get_logger("maru.nats")


class Lost(OSError):
    """The server, or the way to it, is gone."""


class Link:
    """A connection to NATS. Use as an async context manager, which waits a moment for the first connection, and goes on
    without one. `run` ends if the link's own work fails; its owner awaits it.

    Each of `on_connected` is awaited with a new connection before it is used, in order: subscribe there; what they
    raise is as a failed connection. Each of `on_restored` is called behind them. Raises `ValueError` on a bad `url`.
    """

    def __init__(self, url: str, *, name: str = "maru") -> None:
        self.linked = asyncio.Event()  # set while NATS answers
        self.losses = 0  # how often the link was lost; failed tries to reconnect do not count
        self.on_connected: list[Callable[[MaruClient], Awaitable[None]]] = []
        self.on_restored: list[Callable[[], None]] = []
        self._address, self._name = address.parse(url), name
        self._client: MaruClient | None = None  # None: the link is lost
        self._keeping: asyncio.Task[None] | None = None
        self._away = False  # whether the log was told that the link is lost
        self._complained = False  # whether the log was told of an error on this connection

    async def __aenter__(self) -> Self:
        self._keeping = asyncio.create_task(self._keep(), name="nats-link")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(OPEN_S):
                await self.linked.wait()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)

    async def run(self) -> None:
        """Wait until the link's own work fails, or the link is closed."""
        assert self._keeping is not None
        await asyncio.shield(self._keeping)

    @property
    def client(self) -> MaruClient:
        """The connection. Raises `Unavailable` while there is none."""
        if self._client is None:
            raise Unavailable("NATS is away")
        return self._client

    @asynccontextmanager
    async def asking(self, seconds: float = ANSWER_S) -> AsyncIterator[JetStreamContext]:
        """Ask JetStream in the body: whatever goes wrong there is `Unavailable`, also that it takes longer. Catch what
        is an answer, such as `nats.js.errors.NotFoundError`, inside."""
        stream = self.client.jetstream(timeout=seconds)
        async with self.answered(seconds):
            yield stream

    @asynccontextmanager
    async def answered(self, seconds: float = ANSWER_S) -> AsyncIterator[None]:
        """Let whatever goes wrong in the body be `Unavailable`, also that it takes longer.

        The library waits by `asyncio.wait_for`, which before Python 3.12 forgets a cancellation that comes together
        with the answer: it is raised here.
        """
        task = asyncio.current_task()
        assert task is not None  # it awaits this
        before = task.cancelling()
        try:
            async with asyncio.timeout(seconds):
                yield
        except FAILURES as error:
            raise Unavailable(f"NATS does not answer ({type(error).__name__})") from error
        if task.cancelling() > before:
            raise asyncio.CancelledError

    async def _keep(self) -> None:
        """Keep the link until cancelled."""
        pause = RETRY_S
        while True:
            began = asyncio.get_running_loop().time()
            try:
                await self._serve()
            except FAILURES as error:
                self._lost(error)
            lasted = asyncio.get_running_loop().time() - began
            pause = RETRY_S if lasted > OPEN_S else min(pause * 2, RETRY_CAP_S)
            await asyncio.sleep(pause)

    async def _serve(self) -> None:
        """Connect, and hold the connection until it fails."""
        gone = asyncio.Event()

        async def closed() -> None:
            gone.set()

        client = MaruClient(self._address)
        try:
            async with asyncio.timeout(OPEN_S):
                await client.open(self._name, self._hear_problem, closed)
                for connected in self.on_connected:
                    await connected(client)
                await client.echo.heard()  # behind the subscriptions: then all of them are in force
            self._client, self._away, self._complained = client, False, False
            self.linked.set()
            _log.info("nats.linked", server=client.server)
            for restored in self.on_restored:
                restored()
            await _until_lost(client.echo, gone)
        finally:
            self._client = None
            await client.end()

    async def _hear_problem(self, error: Exception) -> None:
        """Log the first subject that is refused to a connection; other problems end it, or its beginning."""
        if "permissions" in str(error).lower() and not self._complained:
            self._complained = True
            _log.warning("nats.refused", problem=_text(error))

    def _lost(self, error: Exception) -> None:
        """Log that the link is lost; tries that fail after it are not logged."""
        self.losses += self.linked.is_set()
        self.linked.clear()
        if not self._away:
            self._away = True
            _log.warning("nats.away", problem=_text(error))


async def _until_lost(echo: Echo, gone: asyncio.Event) -> None:
    """Raise `Lost` once the connection is gone, or nothing comes back any more."""
    unheard = 0
    while unheard < UNHEARD_PULSES:
        pulse = echo.heard()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PULSE_S):
                await gone.wait()
        if gone.is_set():
            raise Lost("the connection is closed")
        unheard = 0 if pulse.done() else unheard + 1
    raise Lost("connected, but nothing comes back")


def _text(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
