"""The replicas that live, in Redis: a lease each, by Redis' clock, and a row of numbers.

A row is the time of the start, the time of the last renewal (both ms), and JSON: `{v, state, version, numbers}`.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence

import orjson

from server.adapters.redis import keys
from server.adapters.redis.pipeline import Pipeline
from server.adapters.redis.scripts import Script
from server.domain.replicas import ReplicaId, ReplicaRow, ReplicaState
from server.ports.replicas import LEASE_S, MAX_NUMBERS, Replicas

VERSION = 1
"""Of the JSON."""

MAX_BYTES = 16 * 1024
"""Of a row; a longer one is not parsed."""

MOST = 1_000
"""Replicas that are read, at most."""


class RedisReplicas(Replicas):
    """Leases of `lease_s` over a pipeline that it does not own. `version` is that of this process' code."""

    def __init__(
        self,
        pipeline: Pipeline,
        id: ReplicaId,
        *,
        version: str,
        prefix: str = keys.PREFIX,
        lease_s: float = LEASE_S,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._id, self._version, self._monotonic = id, version, monotonic
        self._started = monotonic()
        self._lease_ms = round(lease_s * 1000)
        self._keys = keys.leases(prefix), keys.rows(prefix)
        self._lease, self._living = Script(pipeline, "lease"), Script(pipeline, "living")

    @property
    def id(self) -> ReplicaId:
        """The id of this replica."""
        return self._id

    async def renew(self, state: ReplicaState, numbers: Mapping[str, float]) -> None:
        """Write the row, and let it live for a lease more. Promises 1, 4."""
        finite = {name: number for name, number in numbers.items() if math.isfinite(number)}
        row = {"v": VERSION, "state": state, "version": self._version, "numbers": finite}
        age_ms = round((self._monotonic() - self._started) * 1000)
        await self._lease(self._keys, self._id, self._lease_ms, age_ms, orjson.dumps(row))

    async def living(self) -> Sequence[ReplicaRow]:
        """Read all rows whose leases have not ended. Promises 2-4."""
        found = await self._living(self._keys, MOST)
        rows = [_row(ReplicaId(id.decode()), raw) for id, raw in zip(found[::2], found[1::2], strict=True)]
        return sorted((row for row in rows if row is not None), key=lambda row: row.id)

    async def leave(self) -> None:
        """End the lease. Promises 2, 4."""
        await self._lease(self._keys, self._id, 0)


def _row(id: ReplicaId, raw: bytes) -> ReplicaRow | None:
    """Return a row; None if it can't be read."""
    if len(raw) > MAX_BYTES:
        return None
    try:
        started, seen, text = raw.split(b" ", 2)
        fields = orjson.loads(text)
        if fields["v"] != VERSION or len(fields["numbers"]) > MAX_NUMBERS:
            return None
        numbers = {name: float(number) for name, number in fields["numbers"].items()}
        version = fields["version"]
        return ReplicaRow(id, ReplicaState(fields["state"]), str(version), int(started), int(seen), numbers)
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
