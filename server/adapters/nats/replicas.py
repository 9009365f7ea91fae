"""The replicas that live, in NATS: a row for each in a stream whose entries last as long as a lease, by the server's
clock.

A row is JSON: `{v, state, version, age_ms, numbers}`; `age_ms` is how long ago the replica started.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence

import orjson

from server.adapters.nats import names
from server.adapters.nats.document import Document
from server.adapters.nats.documents import Documents
from server.adapters.nats.link import Link
from server.domain.replicas import ReplicaId, ReplicaRow, ReplicaState
from server.ports.replicas import LEASE_S, MAX_NUMBERS, Replicas

VERSION = 1
"""Of the JSON."""

MAX_BYTES = 16 * 1024
"""Of a row; a longer one is not parsed."""


class NatsReplicas(Replicas):
    """Leases of `lease_s`. `version` is that of this process' code."""

    def __init__(
        self,
        link: Link,
        id: ReplicaId,
        *,
        version: str,
        prefix: str = names.PREFIX,
        replicas: int = 1,
        lease_s: float = LEASE_S,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._id, self._version, self._monotonic = id, version, monotonic
        self._started = monotonic()
        self._rows = Documents(link, "replicas", prefix=prefix, replicas=replicas, max_age_s=lease_s)

    @property
    def id(self) -> ReplicaId:
        """The id of this replica."""
        return self._id

    async def renew(self, state: ReplicaState, numbers: Mapping[str, float]) -> None:
        """Write the row again. Promises 1, 4."""
        finite = {name: number for name, number in numbers.items() if math.isfinite(number)}
        age_ms = round((self._monotonic() - self._started) * 1000)
        row = {"v": VERSION, "state": state, "version": self._version, "age_ms": age_ms, "numbers": finite}
        await self._rows.put(orjson.dumps(row), self._id)

    async def living(self) -> Sequence[ReplicaRow]:
        """Read all rows that are left. Promises 2-4."""
        rows = map(_row, await self._rows.all())
        return sorted((row for row in rows if row is not None), key=lambda row: row.id)

    async def leave(self) -> None:
        """Remove the row. Promises 2, 4."""
        await self._rows.purge(self._id)


def _row(document: Document) -> ReplicaRow | None:
    """Return a row; None if it can't be read."""
    if len(document.data) > MAX_BYTES:
        return None
    try:
        (id,) = document.parts
        fields = orjson.loads(document.data)
        if fields["v"] != VERSION or len(fields["numbers"]) > MAX_NUMBERS:
            return None
        numbers = {name: float(number) for name, number in fields["numbers"].items()}
        state, started_at = ReplicaState(fields["state"]), document.at_ms - int(fields["age_ms"])
        return ReplicaRow(ReplicaId(id), state, str(fields["version"]), started_at, document.at_ms, numbers)
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
