"""Sending notices: one transaction after another on a connection of its own, at most one each few milliseconds.

`NOTIFY` takes a lock on the whole database while its transaction commits: it is kept out of those that append, and all
that waits is sent together.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import NamedTuple

from asyncpg import Connection

from server.adapters.postgres.connections import connect
from server.adapters.postgres.errors import ERRORS, unavailable
from server.adapters.postgres.notices import MAX_PAYLOAD_BYTES, packed
from server.domain.channels import ChannelName
from server.domain.errors import Unavailable

EVERY_S = 0.005
"""Between the beginnings of two transactions."""

WAITING_LIMIT = 10_000
"""Payloads that may wait. Over this number a payload is refused."""

BATCH_LIMIT = 500
"""Payloads of a transaction: 100,000 a second are more than replicas can read."""

SEND_S = 1.0
PUBLISH_S = 1.8
"""Deadlines of a transaction, and of a payload with all that it waits for."""

RETRY_S = 0.1
"""After a try that has failed."""

Done = Callable[[Exception | None], None]


class _Payload(NamedTuple):
    channel: ChannelName
    payload: bytes
    done: Done


class Notifier:
    """Sends payloads as notices of `topic`, in their order. `run` is started, and ended, by its owner. `failed` is
    called after a transaction that has failed."""

    def __init__(self, url: str, topic: str, failed: Callable[[], None]) -> None:
        self._url, self._topic, self._failed = url, topic, failed
        self._waiting: deque[_Payload] = deque()
        self._arrived = asyncio.Event()
        self._connection: Connection | None = None

    def submit(self, channel: ChannelName, payload: bytes, done: Done) -> bool:
        """Send a payload behind the others, and call `done`, with the error if it has not gone out. Return whether
        there was room for it; else `done` is not called."""
        if len(self._waiting) >= WAITING_LIMIT or len(payload) > MAX_PAYLOAD_BYTES:
            return False
        self._waiting.append(_Payload(channel, payload, done))
        self._arrived.set()
        return True

    async def publish(self, channel: ChannelName, payload: bytes) -> None:
        """Send a payload; return once it has gone out. Raises `Unavailable`."""
        sent: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def done(error: Exception | None) -> None:
            if not sent.done():
                sent.set_result(None) if error is None else sent.set_exception(error)

        if not self.submit(channel, payload, done):
            raise Unavailable("too many notices wait for PostgreSQL")
        try:
            async with asyncio.timeout(PUBLISH_S):
                await sent
        except TimeoutError as error:
            raise unavailable(error) from error

    async def run(self) -> None:
        """Send until cancelled; what waits then fails."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                await self._arrived.wait()
                began = loop.time()
                batch = [self._waiting.popleft() for _ in range(min(BATCH_LIMIT, len(self._waiting)))]
                if not self._waiting:
                    self._arrived.clear()
                if await self._sent(batch):
                    await asyncio.sleep(began + EVERY_S - loop.time())
                else:
                    self._failed()
                    await asyncio.sleep(RETRY_S)
        finally:
            self._drop()
            self._finish(list(self._waiting), Unavailable("the replica stops"))
            self._waiting.clear()

    async def _sent(self, batch: list[_Payload]) -> bool:
        """Send, and tell those who wait; return whether it went out."""
        try:
            async with asyncio.timeout(SEND_S):
                if self._connection is None or self._connection.is_closed():
                    self._connection = await connect(self._url)
                await self._connection.execute(self._statement(batch))
        except ERRORS as error:
            self._drop()
            # Those behind it would wait for the same.
            behind = list(islice(self._waiting, len(self._waiting)))
            self._waiting.clear()
            self._arrived.clear()
            self._finish([*batch, *behind], unavailable(error))
            return False
        except BaseException:
            self._finish(batch, Unavailable("the replica stops"))
            raise
        self._finish(batch, None)
        return True

    def _statement(self, batch: list[_Payload]) -> str:
        """Return one statement without arguments, which any pooler passes on as it is. A notice needs no fsync."""
        notices = (f", pg_notify('{self._topic}', '{notice}')" for notice in packed(each[:2] for each in batch))
        return f"SELECT set_config('synchronous_commit', 'off', true){''.join(notices)}"

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    @staticmethod
    def _finish(batch: list[_Payload], error: Exception | None) -> None:
        for each in batch:
            each.done(error)
