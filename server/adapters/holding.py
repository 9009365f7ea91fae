"""The name under which this replica holds entries of presence, and the lease of it, by the store's clock.

A replica is another holder after each doubt: when its lease has ended, others may be removing its entries; when the
store was away, or another took its place, it may lack some, and have some that were taken back. So all is entered again
under a new name, nobody sees it, and what the old name has is removed with its lease.
"""

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Callable

import structlog

from server.domain.errors import Unavailable
from server.domain.replicas import ReplicaId
from server.ports.replicas import LEASE_S

RETIRED_S = 40.0
"""How long the lease of an old name is renewed: to enter all again takes less (ADR 0043)."""

REAPED_S = 5.0
"""How long it takes at most, after that lease, until what an old name has left is removed (reaper.py)."""

RETIRED_LIMIT = 4
"""Old names; over it the oldest is given up."""

_log = structlog.get_logger("maru.presence")


class Holding(ABC):
    """The lease of a replica. `lost` are called as soon as all entries are to be entered again, under the present
    `name`. A store of leases implements `set_leases`; `store_ms` is its time if a test moves it."""

    def __init__(
        self,
        id: ReplicaId,
        lease_s: float = LEASE_S,
        store_ms: Callable[[], int] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.lost: list[Callable[[], None]] = []
        self._id, self._number, self._lease_s = id, 0, lease_s
        self.store_ms, self._monotonic = store_ms, monotonic
        self._ends: float | None = None  # when the lease may have ended, on the monotonic clock; None: it has not begun
        # Old names, oldest first; until when each is renewed. Its entries hold for a lease more.
        self._retired: dict[str, float] = {}
        self._doubted = False  # the next renewal tells that the lease was lost
        self._leaving = False
        self._beginning = asyncio.Lock()

    @abstractmethod
    async def set_leases(self, for_s: float, names: tuple[str, ...], new: str = "") -> dict[str, int]:
        """Let the leases of `names` end in so long, and that of a `new` name begin. Return of each of `names` whether
        it held: if not, it stays ended. Raises `Unavailable`."""

    @property
    def name(self) -> str:
        """The present name."""
        return f"{self._id}.{self._number}"

    @property
    def names(self) -> tuple[str, ...]:
        """The present name and the old ones whose entries may hold."""
        return (self.name, *self._retired)

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
            held = await self.set_leases(self._lease_s, (name, *self._renewed(began)))
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
            name, began = self.name, self._monotonic()
            held = await self.set_leases(linger_s, self.names)
            self._ends = began + linger_s if held[name] else began  # a lease that has ended is not begun again

    def lose(self, name: str) -> None:
        """The entries of this name are lost, or will be. Take another, unless that is done."""
        if name == self.name and not self._leaving:
            _log.warning("presence.lost", holder=name)
            self._rename()
            self._doubted = True

    def restore(self) -> None:
        """The store is back, or is another: what it has of the present name may be wrong."""
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
        await self.set_leases(self._lease_s, (), name)
        if name == self.name:
            self._ends = began + self._lease_s
