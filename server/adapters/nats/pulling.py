"""Entries of a stream, many at once, by a consumer that the server forgets afterwards."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from dataclasses import dataclass

import orjson
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from server.adapters.nats.client import MaruClient
from server.adapters.nats.link import ANSWER_S

FETCHED = 500
"""Entries that a consumer is asked for at once. Two such questions are under way."""

TURN = 50
"""Entries that are given in a turn of the event loop."""

_PLACES = {9: 5, 11: 7, 12: 7}
"""Which part of the subject for an acknowledgement is the sequence, by the number of its parts."""


@dataclass(frozen=True, slots=True)
class Raw:
    """An entry as a stream keeps it. `time` is when the server wrote it, as the server's text, if that was told."""

    seq: int
    subject: str
    data: bytes
    time: str = ""


class _Arrivals:
    """Entries that have come and were not taken yet: two questions' at most."""

    def __init__(self) -> None:
        self.waiting: deque[Msg] = deque()
        self._came = asyncio.Event()

    def put(self, message: Msg) -> None:
        """Take an entry in."""
        self.waiting.append(message)
        self._came.set()

    async def next(self) -> Msg:
        """Return the next entry. Raises `TimeoutError`."""
        while not self.waiting:
            self._came.clear()
            async with asyncio.timeout(ANSWER_S):
                await self._came.wait()
        return self.waiting.popleft()


async def pulled(client: MaruClient, consumer: str, pending: int) -> AsyncGenerator[Raw, None]:
    """Yield the entries that the consumer `stream.name` has, which are `pending`."""
    arrivals, inbox = _Arrivals(), client.new_inbox()
    subscription = await client.hear(inbox, arrivals.put)
    asked = given = 0
    try:
        while given < pending:
            while asked < pending and asked - given <= FETCHED:
                batch = min(FETCHED, pending - asked)
                wanted = orjson.dumps({"batch": batch, "expires": round(ANSWER_S * 1e9)})
                await client.publish(f"$JS.API.CONSUMER.MSG.NEXT.{consumer}", wanted, reply=inbox)
                asked += batch
            raw = _raw(await arrivals.next())
            given += 1
            yield raw
            if given % TURN == 0:
                await asyncio.sleep(0)  # others go on meanwhile
    finally:
        await subscription.unsubscribe()


def _raw(message: Msg) -> Raw:
    """Return the entry of a message. Raises `NatsError` if the server has no more, though it had."""
    parts = message.reply.split(".")
    place = _PLACES.get(len(parts))
    if place is None:
        raise NatsError("a stream is changed while it is read")
    return Raw(int(parts[place]), message.subject, message.data)
