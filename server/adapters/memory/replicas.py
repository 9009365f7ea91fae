"""The replicas of a deployment of a single process: this one."""

import time
from collections.abc import Callable, Mapping, Sequence

from server.adapters.clock import now_ms
from server.domain.replicas import ReplicaId, ReplicaRow, ReplicaState
from server.ports.replicas import LEASE_S, Replicas


class MemoryReplicas(Replicas):
    """Keeps the row of this process. `version` is that of its code."""

    def __init__(
        self,
        id: ReplicaId,
        *,
        version: str,
        lease_s: float = LEASE_S,
        now_ms: Callable[[], int] = now_ms,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._id, self._version, self._lease_s = id, version, lease_s
        self._now_ms, self._monotonic = now_ms, monotonic
        self._started_at = now_ms()
        self._row: ReplicaRow | None = None
        self._ends = 0.0  # the lease, on the monotonic clock

    @property
    def id(self) -> ReplicaId:
        """The id of this replica."""
        return self._id

    async def renew(self, state: ReplicaState, numbers: Mapping[str, float]) -> None:
        """Keep the row for a lease more. Promise 1."""
        self._row = ReplicaRow(self._id, state, self._version, self._started_at, self._now_ms(), dict(numbers))
        self._ends = self._monotonic() + self._lease_s

    async def living(self) -> Sequence[ReplicaRow]:
        """Return the row, if the lease has not ended. Promise 2."""
        return [] if self._row is None or self._monotonic() >= self._ends else [self._row]

    async def leave(self) -> None:
        """End the lease. Promise 2."""
        self._row = None
