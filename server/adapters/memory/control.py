"""The list of orders of a single process."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable

from server.domain.control import Heard, Order, Resync
from server.ports.control import ORDERS_LIMIT, Control


class MemoryControl(Control):
    """Keeps the last `limit` orders in this process. `append` never waits."""

    def __init__(self, limit: int = ORDERS_LIMIT, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._orders: deque[Order] = deque(maxlen=limit)
        self._count = 0  # of all orders that were ever appended
        self._late_since: float | None = None  # when the first order came that nobody has heard
        self._arrived = asyncio.Event()

    async def append(self, order: Order) -> None:
        """Add the order. Promises 1, 2."""
        self._orders.append(order)
        self._count += 1
        if self._late_since is None:
            self._late_since = self._monotonic()
        self._arrived.set()

    async def listen(self) -> AsyncIterator[Heard]:
        """Yield `Resync`, then the orders as they come; again if more came than are kept. Promises 1-3, 6."""
        place: int | None = None  # how many orders are behind the listener
        while True:
            first = self._count - len(self._orders)  # of those that are kept
            if place is None or place < first:
                place = self._count
                yield Resync()
            elif place < self._count:
                place += 1
                yield self._orders[place - 1 - first]
            else:
                self._late_since = None
                self._arrived.clear()
                await self._arrived.wait()

    @property
    def age_s(self) -> float:
        """Seconds since an order came that was not heard yet; 0 if all were."""
        return 0.0 if self._late_since is None else self._monotonic() - self._late_since
