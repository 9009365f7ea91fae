"""How many sessions each user has, in NATS: counted by the replicas' holders (holding.py)."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence

from server.adapters.nats.holding import USERS, Holding
from server.adapters.nats.reaper import Reaper
from server.adapters.rosters import OfflineQueue
from server.domain.identity import UserId
from server.domain.presence import UserStatus
from server.ports.presence import REAPED_LIMIT, Online, RostersLost

WAIT_S = 1.9
"""For a call, which may have to begin a lease first."""


class NatsOnline(Online):
    """Counts over the link of `holding`."""

    def __init__(self, holding: Holding, reaper: Reaper, limit: int = REAPED_LIMIT) -> None:
        self._holding, self._sessions, self._link = holding, reaper.sessions, holding.link
        self._queue = OfflineQueue(limit)
        reaper.on_offline = self._queue.put
        holding.lost.append(lambda: self._queue.put([RostersLost()]))

    @property
    def dropped(self) -> int:
        """Users that went offline, of whom the listener was not told."""
        return self._queue.dropped

    async def count(self, sessions: Mapping[UserId, int]) -> Sequence[UserStatus]:
        """Change the documents of the users. Promises 1, 3."""
        async with self._link.answered(WAIT_S):
            name = await self._holding.living()
            await self._holding.list(name, USERS, (user for user, number in sessions.items() if number))
            holders = self._holding.names
            changed = await asyncio.gather(
                *(self._sessions.count(user, holders, number) for user, number in sessions.items())
            )
            for holder in holders:
                await self._holding.unlist(holder, USERS, (user for user, number in sessions.items() if not number))
            return [status for status in changed if status is not None]

    async def status(self, users: Sequence[UserId]) -> Sequence[UserStatus]:
        """Read the documents of the users. Promises 2, 3."""
        async with self._link.answered(WAIT_S):
            asked = dict.fromkeys(users)
            found = dict(zip(asked, await asyncio.gather(*map(self._sessions.status, asked)), strict=True))
            return [found[user] for user in users]

    def reaped(self) -> AsyncIterator[UserStatus | RostersLost]:
        """Yield those of the reaper. Promise 1."""
        return self._queue.listen()
