"""A call to oneself through the server: it comes back behind everything that was sent before it.

The library's own `flush` does not tell that: its PING overtakes what is still to be written.
"""

import asyncio
import contextlib
from typing import Self

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError


class Echo:
    """Calls of one connection. However many ask at once, one call is on its way, and one follows it."""

    def __init__(self, client: Client, subject: str) -> None:
        self._client, self._subject = client, subject
        self._waiting: asyncio.Future[None] | None = None  # for the call that is to go out next
        self._calling: asyncio.Future[None] | None = None  # for the call that is on its way
        self._tasks: set[asyncio.Task[None]] = set()

    @classmethod
    async def open(cls, client: Client) -> Self:
        """Hear calls on this connection."""
        echo = cls(client, client.new_inbox())
        await client.subscribe(echo._subject, cb=echo.take)
        return echo

    def heard(self) -> asyncio.Future[None]:
        """Return a future that is done once the server has dealt with everything that was sent before. It is shared:
        wait for it behind `asyncio.shield`, or not at all. If the connection is lost it is never done."""
        if self._waiting is None:
            self._waiting = asyncio.get_running_loop().create_future()
            if self._calling is None:
                self._call()
        return self._waiting

    def _call(self) -> None:
        """Send a call a turn later, so that all calls of one turn share it."""
        task = asyncio.get_running_loop().create_task(self._send())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send(self) -> None:
        # Without a pause up to the library's queue: later calls share the next message.
        self._calling, self._waiting = self._waiting, None
        with contextlib.suppress(NatsError, OSError):  # the connection is lost: its link notices
            await self._client.publish(self._subject)

    async def take(self, _message: Msg) -> None:
        """A call has come back."""
        if self._calling is not None and not self._calling.done():
            self._calling.set_result(None)
        self._calling = None
        if self._waiting is not None:
            self._call()
