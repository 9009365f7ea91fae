"""How many sessions each user has, in Redis: counted by the replicas' holders (holding.py)."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from server.adapters.redis import presence_keys
from server.adapters.redis.holding import Holding
from server.adapters.redis.reaper import Reaper
from server.adapters.redis.scripts import Script
from server.adapters.rosters import OfflineQueue
from server.domain.errors import Unavailable
from server.domain.identity import UserId
from server.domain.presence import UserStatus
from server.ports.presence import REAPED_LIMIT, SEEN_S, Online, RostersLost


class RedisOnline(Online):
    """Counts over the pipeline of `holding`."""

    def __init__(self, holding: Holding, reaper: Reaper, limit: int = REAPED_LIMIT) -> None:
        self._holding, self._prefix = holding, holding.prefix
        self._count = Script(holding.pipeline, "online_count")
        self._status = Script(holding.pipeline, "online_status")
        self._queue = OfflineQueue(limit)
        reaper.on_offline = self._queue.put
        holding.lost.append(lambda: self._queue.put([RostersLost()]))

    @property
    def dropped(self) -> int:
        """Users that went offline, of whom the listener was not told."""
        return self._queue.dropped

    async def count(self, sessions: Mapping[UserId, int]) -> Sequence[UserStatus]:
        """Call a script for each partition. Promises 1, 3."""
        name = await self._holding.held()
        parts = defaultdict[str, list[UserId]](list)
        for user in sessions:
            parts[presence_keys.user_partition(user)].append(user)
        changed = await asyncio.gather(
            *(self._count_part(name, part, users, sessions) for part, users in parts.items())
        )
        return [status for part in changed for status in part]

    async def status(self, users: Sequence[UserId]) -> Sequence[UserStatus]:
        """Call a script for each partition. Promises 2, 3."""
        parts = defaultdict[str, list[UserId]](list)
        for user in dict.fromkeys(users):
            parts[presence_keys.user_partition(user)].append(user)
        found = dict[UserId, UserStatus]()
        for part in await asyncio.gather(*(self._read(part, names) for part, names in parts.items())):
            found.update(part)
        return [found[user] for user in users]

    def reaped(self) -> AsyncIterator[UserStatus | RostersLost]:
        """Yield those of the reaper. Promise 1."""
        return self._queue.listen()

    async def _count_part(
        self, name: str, partition: str, users: Sequence[UserId], sessions: Mapping[UserId, int]
    ) -> Sequence[UserStatus]:
        holders = self._holding.names
        own = [key for holder in holders for key in presence_keys.counted(partition, holder, self._prefix)]
        words = [word for user in users for word in (user, sessions[user])]
        at, *changed = await self._count(
            (*presence_keys.online(partition, self._prefix), *own),
            self._holding.now(),
            SEEN_S * 1_000,
            len(holders),
            *holders,
            *words,
        )
        if at == b"dead":
            self._holding.lose(name)
            raise Unavailable("the lease of this replica has ended")
        pairs = zip(changed[::2], changed[1::2], strict=True)
        return [_status(UserId(user.decode()), int(number), int(at)) for user, number in pairs]

    async def _read(self, partition: str, users: Sequence[UserId]) -> Mapping[UserId, UserStatus]:
        found = await self._status(
            presence_keys.online(partition, self._prefix), self._holding.now(), SEEN_S * 1_000, *users
        )
        return {
            user: _status(user, _sum(entry), None if at is None else int(at))
            for user, entry, at in zip(users, found[::2], found[1::2], strict=True)
        }


def _status(user: UserId, sessions: int, at: int | None) -> UserStatus:
    return UserStatus(user, sessions > 0, sessions, None if sessions else at)


def _sum(entry: Any) -> int:
    """Return how many sessions `HOLDER=NUMBER,HOLDER=NUMBER` are."""
    return 0 if entry is None else sum(int(part.partition(b"=")[2]) for part in entry.split(b","))
