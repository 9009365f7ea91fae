"""The lease of this replica's entries of presence in Redis, by Redis' clock."""

import time
from collections.abc import Callable

from server.adapters import holding
from server.adapters.redis import keys, presence_keys
from server.adapters.redis.pipeline import Pipeline
from server.adapters.redis.scripts import Script
from server.domain.replicas import ReplicaId
from server.ports.replicas import LEASE_S


class Holding(holding.Holding):
    """The lease of a replica, over a pipeline that it does not own, under a `prefix` of keys."""

    def __init__(
        self,
        pipeline: Pipeline,
        id: ReplicaId,
        *,
        prefix: str = keys.PREFIX,
        lease_s: float = LEASE_S,
        store_ms: Callable[[], int] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(id, lease_s, store_ms, monotonic)
        self.pipeline, self.prefix = pipeline, prefix
        self._key, self._script = presence_keys.holders(prefix), Script(pipeline, "holders")

    def now(self) -> str:
        """Return the word of scripts for the time: empty for Redis' own."""
        return "" if self.store_ms is None else str(self.store_ms())

    async def set_leases(self, for_s: float, names: tuple[str, ...], new: str = "") -> dict[str, int]:
        """Call a script."""
        answers = await self._script((self._key,), self.now(), round(for_s * 1000), new, *names)
        return dict(zip(names, map(int, answers), strict=True))
