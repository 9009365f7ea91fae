"""Orders that every replica has to hear of: an ordered list, which each replica reads from its own place."""

from collections.abc import AsyncIterator
from typing import Protocol

from server.domain.control import Heard, Order

ORDERS_LIMIT = 100_000
"""Orders that the list keeps, about; the oldest go first. A reader that is behind by more is told to resync."""


class Control(Protocol):
    """The list of orders. It is not a broadcast: an order that was appended is not lost.

    1. Kept: when `append` returns, every replica that listens hears the order within 1 s, whatever happens to
       connections in between and however often, and whether or not the broadcast works.
    2. One order: all replicas hear the orders in the sequence in which they were appended, each once.
    3. Honest: `Resync` comes first, then the orders that were appended after it. It comes again if orders may have been
       missed: the list keeps a bounded number, or came back older than its reader, which `lost` says.
    4. Bounded: `append` raises `Unavailable` within 2 s; then the order may be in the list or not.
    5. An entry that can't be read, or is of a kind that a newer version wrote, is `UnknownOrder`: it holds up nobody.
    6. A single task of a replica iterates over `listen`; it waits while the store is away, and ends only if it is
       cancelled.
    """

    async def append(self, order: Order) -> None:
        """Append an order. Raises `Unavailable`. Promises 1, 2, 4."""
        ...

    def listen(self) -> AsyncIterator[Heard]:
        """Iterate over the orders from now on. Promises 1-3, 5, 6."""
        ...

    @property
    def age_s(self) -> float:
        """Seconds since the list was last read to its end: by so much a replica may be late."""
        ...
