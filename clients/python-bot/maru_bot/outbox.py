"""The outbox: sends that wait until the server has them in its log, in one queue per channel."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

from maru_bot.connection import Connection
from maru_bot.errors import Backoff, MaruError
from maru_bot.events import Json, Receipt
from maru_bot.parsing import receipt
from maru_bot.payload import check, present
from maru_bot.session import Session

KEY_LIFE_S = 23 * 3_600.0
"""The server knows a key for 24 h: later, a retry could double the message."""

LOSSES = 3
"""Losses of a connection while one send was the first in flight: the send is the cause."""


class Age:
    """Seconds since its creation: the monotonic clock stands still while a laptop sleeps, and the wall clock can be set
    back, so the clock that has gone further counts."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time) -> None:
        self._clocks = (monotonic, wall)
        self._began = (monotonic(), wall())

    def __call__(self) -> float:
        """Return the seconds."""
        return max(clock() - began for clock, began in zip(self._clocks, self._began, strict=True))


@dataclass(eq=False, slots=True)
class _Send:
    """One send. `losses` of a connection while it was the first in flight."""

    payload: Json
    age: Age = field(default_factory=Age)
    losses: int = 0


class Outbox:
    """Sends each message under its key until the server answers, one after another in each channel.

    A send that ends the connection would end each next connection too. So the sends that were in flight when a
    connection was lost are suspects: the next connection gets them alone, one after another, and a send that was the
    first in flight at three losses fails.
    """

    def __init__(self, session: Session, backoff: Backoff, limit: int) -> None:
        self._session = session
        self._backoff = backoff
        self._limit = limit
        self._unanswered = 0  # sends, over all channels
        self._queues: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()  # of each channel's sends
        self._in_flight: dict[_Send, Connection] = {}  # the oldest first
        self._suspects: dict[_Send, None] = {}  # in the order of their flight
        self._judged: Connection | None = None  # the last connection whose loss was counted
        self._changed = asyncio.Event()  # a send has its answer, or gets none

    async def send(self, channel: str, payload: Json) -> Receipt:
        """Send a message, and return when it is in the log. Raises as `MaruBot.send`."""
        payload = present(payload)
        check("message:send", payload)
        if self._unanswered >= self._limit:
            raise MaruError("outbox_full", f"{self._unanswered} messages wait for the server already")
        self._unanswered += 1
        send = _Send(payload)
        try:
            # The lock's waiters are the outbox: a lock is fair, so the order of the calls is kept.
            async with self._queues.setdefault(channel, asyncio.Lock()):
                return await self._deliver(send)
        finally:
            self._unanswered -= 1
            self._cleared(send)

    async def _deliver(self, send: _Send) -> Receipt:
        failures = 0
        while send.age() < KEY_LIFE_S:
            connection = await self._session.connected()
            if not self._may_go(send):
                self._changed.clear()
                await self._changed.wait()
                continue
            try:
                return await self._try(send, connection)
            except MaruError as error:
                if not error.retryable:
                    raise
                pause = max(error.retry_after, self._backoff(failures))
            if not connection.done:  # else it is sent again at once, on the next connection
                failures += 1
                await self._session.sleep(pause)
        raise MaruError("key_expired", "too old to be tried again without the risk of doubling it")

    async def _try(self, send: _Send, connection: Connection) -> Receipt:
        """Send it once. Raises `connection_ended` if it has ended as many connections as it may."""
        self._in_flight[send] = connection
        try:
            answer = await connection.command("message:send", send.payload, receipt)
        except MaruError:
            if connection.lost:
                self._count(connection)
            elif not connection.done:
                self._cleared(send)  # the connection has survived it
            if send.losses >= LOSSES:
                reason = f"the connection was lost {LOSSES} times while this send was the first without an answer"
                raise MaruError("connection_ended", reason) from None
            raise
        else:
            return answer
        finally:
            del self._in_flight[send]
            self._changed.set()

    def _may_go(self, send: _Send) -> bool:
        """Whether it is its turn: suspects go alone, those with fewer losses first, and then the others."""
        if not self._suspects:
            return True
        return not self._in_flight and send is min(self._suspects, key=lambda suspect: suspect.losses)

    def _count(self, connection: Connection) -> None:
        """Count a loss, once: every send in flight is a suspect, and the first of them may be the cause."""
        if self._judged is connection:
            return
        self._judged = connection
        lost = [send for send, its in self._in_flight.items() if its is connection]
        lost[0].losses += 1
        self._suspects.update(dict.fromkeys(lost))

    def _cleared(self, send: _Send) -> None:
        send.losses = 0
        self._suspects.pop(send, None)
        self._changed.set()
