"""The replicas that live, in PostgreSQL: a lease each, by the database's clock, and a row of numbers.

A row says JSON: `{v, state, version, numbers}`.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence

import orjson
from asyncpg import Record

from server.adapters.postgres.database import Database
from server.domain.replicas import ReplicaId, ReplicaRow, ReplicaState
from server.ports.replicas import LEASE_S, MAX_NUMBERS, Replicas

VERSION = 1
"""Of the JSON."""

MAX_BYTES = 16 * 1024
"""Of a row; a longer one is not parsed."""

MOST = 1_000
"""Replicas that are read, at most."""

_RENEW = "SELECT maru.renew_replica($1, $2, $3, $4)"
_LIVING = """
SELECT id, started_at, seen_at, said FROM maru.replicas WHERE ends_at > maru.now_ms(NULL) ORDER BY id LIMIT $1
"""


class PostgresReplicas(Replicas):
    """Leases of `lease_s` in a database that it does not own. `version` is that of this process' code."""

    def __init__(
        self,
        db: Database,
        id: ReplicaId,
        *,
        version: str,
        lease_s: float = LEASE_S,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._db, self._id, self._version, self._monotonic = db, id, version, monotonic
        self._started = monotonic()
        self._lease_ms = round(lease_s * 1000)

    @property
    def id(self) -> ReplicaId:
        """The id of this replica."""
        return self._id

    async def renew(self, state: ReplicaState, numbers: Mapping[str, float]) -> None:
        """Write the row, and let it live for a lease more. Promises 1, 4."""
        finite = {name: number for name, number in numbers.items() if math.isfinite(number)}
        says = orjson.dumps({"v": VERSION, "state": state, "version": self._version, "numbers": finite})
        age_ms = round((self._monotonic() - self._started) * 1000)
        await self._db.execute(_RENEW, self._id, self._lease_ms, age_ms, says)

    async def living(self) -> Sequence[ReplicaRow]:
        """Read all rows whose leases have not ended. Promises 2-4."""
        rows = map(_row, await self._db.fetch(_LIVING, MOST))
        return [row for row in rows if row is not None]

    async def leave(self) -> None:
        """End the lease. Promises 2, 4."""
        await self._db.execute(_RENEW, self._id, 0, 0, b"")


def _row(row: Record) -> ReplicaRow | None:
    """Return a row; None if it can't be read."""
    said: bytes = row["said"]
    if len(said) > MAX_BYTES:
        return None
    try:
        fields = orjson.loads(said)
        if fields["v"] != VERSION or len(fields["numbers"]) > MAX_NUMBERS:
            return None
        numbers = {name: float(number) for name, number in fields["numbers"].items()}
        state, version = ReplicaState(fields["state"]), str(fields["version"])
        return ReplicaRow(ReplicaId(row["id"]), state, version, row["started_at"], row["seen_at"], numbers)
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
