"""What presence has in common in the stores that replicas share: leases, queues of changes, and the removal of what
dead replicas have left."""

from abc import abstractmethod
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from server.adapters.holding import Holding
from server.adapters.rosters import RosterQueue, TurnQueue, decode_roster
from server.domain.channels import ChannelName
from server.domain.presence import ChannelTurned, RosterChanged
from server.ports.presence import Presence, RostersLost


class Reaping(Protocol):
    """Removes what dead holders have left; `left` counts the users."""

    left: int

    async def run(self) -> None:
        """Look until cancelled."""
        ...


class LeasedPresence(Presence):
    """Rosters whose entries are held by the lease of `holding`. A store adds how they are changed and read; it gives
    the payloads of changes to `_take`, and calls `_restored` once changes are heard again."""

    def __init__(self, holding: Holding, reaper: Reaping, limit: int) -> None:
        self._leases, self._reaping = holding, reaper
        self._queue, self._turns = RosterQueue(limit), TurnQueue()

    @abstractmethod
    def _deadline(self) -> AbstractAsyncContextManager[None]:
        """The time of a call, which may have to begin a lease first: then it raises `Unavailable`."""

    @property
    def dropped(self) -> int:
        """How many changes had no room in their queues."""
        return self._queue.dropped + self._turns.dropped

    @property
    def reaped(self) -> int:
        """How many users the reaper has taken out."""
        return self._reaping.left

    async def renew(self) -> bool:
        """Renew the lease. Promises 4, 6."""
        async with self._deadline():
            return await self._leases.renew()

    async def hand_over(self, linger_s: float) -> None:
        """Let the lease end. Promises 5, 6."""
        async with self._deadline():
            await self._leases.hand_over(linger_s)

    def listen(self) -> AsyncIterator[RosterChanged | RostersLost]:
        """Yield the changes, in order. Promise 3."""
        return self._queue.listen()

    def turns(self) -> AsyncIterator[ChannelTurned]:
        """Yield the turns, in order. Promise 8."""
        return self._turns.listen()

    async def run(self) -> None:
        """Look for dead holders. Promise 4."""
        await self._reaping.run()

    def _take(self, channel: ChannelName, body: bytes) -> None:
        change = decode_roster(channel, body)
        if change is not None:
            self._queue.put(change)

    def _restored(self) -> None:
        self._queue.put_lost()
        self._leases.restore()
