"""The name under which this replica holds entries of presence, and the lease of it, by Redis' clock.

A replica is another holder after each doubt: when its lease has ended, others may be removing its entries; when Redis
was away, or another took its place, it may lack some, and have some that were taken back. So all is entered again under
a new name, nobody sees it, and what the old name has is removed with its lease.
"""

import asyncio
import time
from collections.abc import Callable

import structlog

from server.adapters.redis import keys, presence_keys
from server.adapters.redis.pipeline import Pipeline
from server.adapters.redis.scripts import Script
from server.domain.errors import Unavailable
from server.domain.replicas import ReplicaId
from server.ports.replicas import LEASE_S

RETIRED_S = 40.0
"""How long the lease of an old name is renewed: to enter all again takes less (ADR 0043)."""

REAPED_S = 5.0
"""How long it takes at most, after that lease, until what an old name has left is removed (reaper.py)."""

RETIRED_LIMIT = 4
"""Old names; over it the oldest is given up."""

_log = structlog.get_logger("maru.redis")


class Holding:
    """The lease of a replica, over a pipeline that it does not own, under a `prefix` of keys. `lost` are called as soon
    as all entries are to be entered again, under the present `name`."""

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
        self.lost: list[Callable[[], None]] = []
        self.pipeline, self.prefix = pipeline, prefix
        self._id, self._number, self._lease_s = id, 0, lease_s
        self._key, self._store_ms, self._monotonic = presence_keys.holders(prefix), store_ms, monotonic
        self._script = Script(pipeline, "holders")
        self._ends: float | None = None  # when the lease may have ended, on the monotonic clock; None: it has not begun
        # Old names, oldest first; until when each is renewed. Its entries hold for a lease more.
        self._retired: dict[str, float] = {}
        self._doubted = False  # the next renewal tells that the lease was lost
        self._leaving = False
        self._beginning = asyncio.Lock()

    @property
    def name(self) -> str:
        """The present name."""
        return f"{self._id}.{self._number}"

    @property
    def names(self) -> tuple[str, ...]:
        """The present name and the old ones whose entries may hold."""
        return (self.name, *self._retired)

    def now(self) -> str:
        """Return the word of scripts for the time: empty for Redis' own."""
        return "" if self._store_ms is None else str(self._store_ms())

    async def held(self) -> str:
        """Return the present name, which has a lease. Raises `Unavailable`."""
        if self._ends is None:
            async with self._beginning:
                if self._ends is None:
                    await self._begin()
        if self._ends is None or self._monotonic() >= self._ends:
            raise Unavailable("the lease of this replica may have ended")
        return self.name

    async def renew(self) -> bool:
        """Renew the lease. Return whether it held since the last call. Raises `Unavailable`."""
        if self._leaving:
            return True
        self._forget_retired()
        name = self.name
        if self._ends is not None:
            began = self._monotonic()
            held = await self._set(self._lease_s, (name, *self._renewed(began)))
            for old in [old for old in self._retired if not held.get(old, 1)]:
                del self._retired[old]
            if name == self.name and held[name]:
                self._ends = began + self._lease_s
            else:
                self.lose(name)
        doubted, self._doubted = self._doubted, False
        if self._ends is None:
            await self._begin()
        return not doubted

    async def hand_over(self, linger_s: float) -> None:
        """Let the leases end so soon, and renew none any more. Raises `Unavailable`."""
        self._leaving = True
        if self._ends is not None:
            began = self._monotonic()
            await self._set(linger_s, self.names)
            self._ends = began + linger_s

    def lose(self, name: str) -> None:
        """The entries of this name are lost, or will be. Take another, unless that is done."""
        if name == self.name and not self._leaving:
            _log.warning("presence.lost", holder=name)
            self._rename()
            self._doubted = True

    def restore(self) -> None:
        """Redis is back, or is another: what it has of the present name may be wrong."""
        if self._ends is not None and not self._leaving:
            self._retired[self.name] = self._monotonic() + RETIRED_S
            if len(self._retired) > RETIRED_LIMIT:
                del self._retired[next(iter(self._retired))]
            self._rename()

    def _rename(self) -> None:
        self._number, self._ends = self._number + 1, None
        for lost in self.lost:
            lost()

    def _renewed(self, now: float) -> list[str]:
        return [name for name, until in self._retired.items() if until > now]

    def _forget_retired(self) -> None:
        ended = self._monotonic() - self._lease_s - REAPED_S
        self._retired = {name: until for name, until in self._retired.items() if until > ended}

    async def _begin(self) -> None:
        name, began = self.name, self._monotonic()
        await self._set(self._lease_s, (), name)
        if name == self.name:
            self._ends = began + self._lease_s

    async def _set(self, for_s: float, names: tuple[str, ...], new: str = "") -> dict[str, int]:
        """Set the ends of leases. Return of each whether it held."""
        answers = await self._script((self._key,), self.now(), round(for_s * 1000), new, *names)
        return dict(zip(names, map(int, answers), strict=True))
