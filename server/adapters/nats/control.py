"""The list of orders in NATS: a stream that each replica reads from its own place.

Each order has a random id: an append whose answer was lost is repeated, and is in the list once all the same.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import structlog

from server.adapters.nats import names
from server.adapters.nats.documents import Documents
from server.adapters.nats.link import Link
from server.adapters.orders import decode_order, encode_order
from server.domain.control import Heard, Order, Resync
from server.domain.errors import Unavailable
from server.ports.control import ORDERS_LIMIT, Control

PART = "orders"

POLL_S = 0.1
"""Between two looks at the end of the list: an order is to be heard within a second."""

RETRY_S = 0.02
RETRY_CAP_S = 0.2
"""Pauses between tries to read, and between tries to append."""

APPEND_S = 1.8
"""In which an order is appended, with all tries: below the 2 s that a caller may be kept waiting."""

NONCE_BYTES = 8

_log = structlog.get_logger("maru.nats")


@dataclass(slots=True)
class _Place:
    """Where a reader is in the list: the last entry that it has read, and when the list was made."""

    created: str
    place: int
    losses: int
    """Of the link, when the list was last looked at."""
    data: bytes | None = None
    """Of that entry, once one was read: another there means that the list came back older."""


class NatsControl(Control):
    """Orders over a link."""

    def __init__(
        self,
        link: Link,
        *,
        prefix: str = names.PREFIX,
        replicas: int = 1,
        limit: int = ORDERS_LIMIT,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._link, self._monotonic = link, monotonic
        self._orders = Documents(link, "control", prefix=prefix, replicas=replicas, keeps=limit)
        self._read_at = monotonic()  # when the list was last read to its end
        self._away = False  # the last try to read has failed

    @property
    def age_s(self) -> float:
        """Seconds since the list was last read to its end."""
        return self._monotonic() - self._read_at

    async def append(self, order: Order) -> None:
        """Append, again and again until NATS confirms it or the time is over. Promises 1, 2, 4."""
        entry, nonce, pause = encode_order(order), secrets.token_hex(NONCE_BYTES), RETRY_S
        try:
            async with asyncio.timeout(APPEND_S):
                while True:
                    try:
                        await self._orders.put(entry, PART, id=nonce)
                    except Unavailable:
                        await asyncio.sleep(pause)
                        pause = min(pause * 2, RETRY_CAP_S)
                    else:
                        return
        except TimeoutError as error:
            raise Unavailable("the order could not be given: NATS does not take it") from error

    async def listen(self) -> AsyncIterator[Heard]:
        """Yield `Resync`, then the orders; an outage of NATS is waited for. Promises 1-3, 5, 6."""
        at: _Place | None = None
        pause = RETRY_S
        found: Heard | None
        while True:
            read_at = self._monotonic()
            try:
                if at is None:
                    at = await self._end()
                    found = Resync()
                else:
                    found = await self._next(at)
            except Unavailable as error:
                self._tell_of_outage(error)
                await asyncio.sleep(pause)
                pause = min(pause * 2, RETRY_CAP_S)
                continue
            self._away, pause = False, RETRY_S
            if found is None:
                self._read_at = read_at
                await asyncio.sleep(POLL_S)
            else:
                if isinstance(found, Resync):
                    self._read_at = read_at
                yield found

    async def _end(self) -> _Place:
        """Return the end of the list."""
        losses, info = self._link.losses, await self._orders.state()
        return _Place(info["created"], info["state"]["last_seq"], losses)

    async def _next(self, at: _Place) -> Heard | None:
        """Return what is behind a place, and move there; None if nothing is."""
        if self._link.losses != at.losses and not await self._stands(at):
            at.created, at.place, at.losses, at.data = _parts(await self._end())
            return Resync(lost=True)
        found = await self._orders.next(at.place + 1)
        if found is None:
            return None
        if found.place > at.place + 1:  # some are gone
            at.created, at.place, at.losses, at.data = _parts(await self._end())
            return Resync()
        at.place, at.data = found.place, found.data
        return decode_order(found.data)

    async def _stands(self, at: _Place) -> bool:
        """Say whether the list goes on where it was before the link was lost."""
        losses, info = self._link.losses, await self._orders.state()
        if info["created"] != at.created or info["state"]["last_seq"] < at.place:
            return False
        if at.data is not None and info["state"]["first_seq"] <= at.place:
            found = await self._orders.next(at.place)
            if found is None or (found.place == at.place and found.data != at.data):
                return False
        at.losses = losses
        return True

    def _tell_of_outage(self, error: Unavailable) -> None:
        """Log that the orders can't be read; tries that fail after it are not logged."""
        if not self._away:
            self._away = True
            _log.warning("control.away", problem=str(error))


def _parts(place: _Place) -> tuple[str, int, int, bytes | None]:
    return place.created, place.place, place.losses, place.data
