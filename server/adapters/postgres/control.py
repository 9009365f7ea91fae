"""The list of orders in PostgreSQL: a table that each replica reads from its own place, again and again.

No notification is needed, so a replica hears every order whatever happens to its listener. An order carries a random
nonce: an append whose answer was lost is repeated, and written once all the same; and after a failover a reader knows
by them which orders it has heard.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable, Sequence

import structlog

from server.adapters.orders import encode_order
from server.adapters.postgres.database import Database
from server.adapters.postgres.heard import HeardOrders, Place
from server.domain.control import Heard, Order, Resync
from server.domain.errors import Unavailable
from server.ports.control import ORDERS_LIMIT, Control

POLL_S = 0.25
"""Between two looks at the end of the list: an order is to be heard within a second."""

PAGE = 500
"""Orders that are read at once."""

ANSWER_S = 0.9
"""How long a read or a try to append may take."""

RETRY_S = 0.02
RETRY_CAP_S = 0.2
"""Pauses between tries to read, and between tries to append."""

APPEND_S = 1.8
"""In which an order is appended, with all tries: below the 2 s that a caller may be kept waiting."""

NONCE_BYTES = 16

_GIVE = "SELECT maru.give_order($1, $2, $3)"

# A single statement: the list as of one moment.
_READ = """
SELECT l.id, l.first, l.last, (SELECT o.nonce FROM maru.orders o WHERE o.n = $1) AS anchor,
ARRAY (SELECT o.nonce FROM maru.orders o WHERE o.n > $1 ORDER BY o.n LIMIT $2) AS nonces,
ARRAY (SELECT o.body FROM maru.orders o WHERE o.n > $1 ORDER BY o.n LIMIT $2) AS bodies
FROM maru.order_list l
"""

_log = structlog.get_logger("maru.postgres")


class PostgresControl(Control):
    """Orders in a database that it does not own."""

    def __init__(
        self, db: Database, limit: int = ORDERS_LIMIT, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._db, self._limit, self._monotonic = db, limit, monotonic
        self._away = False  # the last try to read has failed
        self._read_at = monotonic()  # when the list was last read to its end

    @property
    def age_s(self) -> float:
        """Seconds since the list was last read to its end."""
        return self._monotonic() - self._read_at

    async def append(self, order: Order) -> None:
        """Append, again and again until it is committed or the time is over. Promises 1, 2, 4."""
        entry = secrets.token_bytes(NONCE_BYTES), encode_order(order), self._limit
        ends_at, pause = self._monotonic() + APPEND_S, RETRY_S
        while True:
            left_s = ends_at - self._monotonic()
            try:
                await self._db.run(lambda connection: connection.execute(_GIVE, *entry), min(left_s, ANSWER_S))
            except Unavailable as error:
                if self._monotonic() + pause >= ends_at:
                    raise Unavailable("the order could not be given: PostgreSQL does not take it") from error
                await asyncio.sleep(pause)
                pause = min(pause * 2, RETRY_CAP_S)
            else:
                return

    async def listen(self) -> AsyncIterator[Heard]:
        """Yield `Resync`, then the orders; an outage of PostgreSQL is waited for. Promises 1-3, 5, 6."""
        heard, pause = HeardOrders(), RETRY_S
        while True:
            read_at = self._monotonic()
            try:
                items, at_end = await self._page(heard)
            except Unavailable as error:
                self._tell_of_outage(error)
                await asyncio.sleep(pause)
                pause = min(pause * 2, RETRY_CAP_S)
                continue
            self._away, pause = False, RETRY_S
            for item in items:
                yield item
            if at_end:
                self._read_at = read_at
                await asyncio.sleep(POLL_S)

    async def _page(self, heard: HeardOrders) -> tuple[Sequence[Heard], bool]:
        """Return the next items, and whether they are the last for now. Raises `Unavailable`."""
        row = await self._db.run(lambda connection: connection.fetchrow(_READ, heard.place, PAGE), ANSWER_S)
        if row is None:
            raise Unavailable("the list of orders is gone")
        list_ = Place(row["id"], row["first"], row["last"])
        if not heard.begun:
            heard.begin(list_)
            return [Resync()], False
        lost = heard.lost(list_, row["anchor"])
        if lost is not None:
            heard.step_back(list_)
        if lost:
            return [Resync(lost=True)], False
        # If orders are gone because there are too many, those that are left begin behind the place all the same.
        resync = [] if lost is None else [Resync()]
        return [*resync, *heard.take(row["nonces"], row["bodies"])], heard.place >= list_.last

    def _tell_of_outage(self, error: Unavailable) -> None:
        """Log that the orders can't be read; tries that fail after it are not logged."""
        if not self._away:
            self._away = True
            _log.warning("control.away", problem=str(error))
