"""The lease of this replica's entries of presence in PostgreSQL, by the database's clock."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

from asyncpg import Record

from server.adapters import holding
from server.adapters.postgres.database import Database
from server.adapters.postgres.deadline import deadline
from server.domain.replicas import ReplicaId
from server.ports.replicas import LEASE_S

AT_ONCE = 3
"""Calls of presence that a replica has under way: the rest of its connections is for messages."""

_HOLD = "SELECT holder, held FROM maru.hold($1, $2, $3, $4)"


class Holding(holding.Holding):
    """The lease of a replica in a database that it does not own."""

    def __init__(
        self,
        db: Database,
        id: ReplicaId,
        *,
        lease_s: float = LEASE_S,
        store_ms: Callable[[], int] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(id, lease_s, store_ms, monotonic)
        self._db, self._room = db, asyncio.Semaphore(AT_ONCE)

    def now(self) -> int | None:
        """Return the time for the functions of the database: None for its own."""
        return None if self.store_ms is None else self.store_ms()

    async def fetch(self, sql: str, *arguments: Any) -> list[Record]:
        """Run a statement of presence. Raises `Unavailable`."""
        async with deadline(), self._room:
            return await self._db.fetch(sql, *arguments)

    async def set_leases(self, for_s: float, names: tuple[str, ...], new: str = "") -> dict[str, int]:
        """Call a function, ahead of all other calls of presence."""
        rows = await self._db.fetch(_HOLD, self.now(), round(for_s * 1000), new or None, list(names))
        return {row["holder"]: row["held"] for row in rows}
