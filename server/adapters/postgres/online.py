"""How many sessions each user has, in PostgreSQL: counted by the replicas' holders (schema_presence.sql)."""

from collections.abc import AsyncIterator, Mapping, Sequence

from server.adapters.postgres.deadline import deadline
from server.adapters.postgres.holding import Holding
from server.adapters.postgres.reaper import Reaper
from server.adapters.rosters import OfflineQueue
from server.domain.errors import Unavailable
from server.domain.identity import UserId
from server.domain.presence import UserStatus
from server.ports.presence import REAPED_LIMIT, SEEN_S, Online, RostersLost

_COUNT = "SELECT member, sessions, at FROM maru.count_sessions($1, $2, $3, $4)"
_STATUS = """
SELECT coalesce(o.sessions, 0) AS sessions, s.at FROM unnest($1::bytea[]) WITH ORDINALITY u (member, n)
LEFT JOIN maru.online o ON o.member = u.member
LEFT JOIN maru.seen s ON s.member = u.member AND s.at >= maru.now_ms($2) - $3::bigint
ORDER BY u.n
"""


class PostgresOnline(Online):
    """Counts in the database of `holding`."""

    def __init__(self, holding: Holding, reaper: Reaper, limit: int = REAPED_LIMIT) -> None:
        self._holding, self._queue = holding, OfflineQueue(limit)
        reaper.on_offline = self._queue.put
        holding.lost.append(lambda: self._queue.put([RostersLost()]))

    @property
    def dropped(self) -> int:
        """Users that went offline, of whom the listener was not told."""
        return self._queue.dropped

    async def count(self, sessions: Mapping[UserId, int]) -> Sequence[UserStatus]:
        """Call a function. Promises 1, 3."""
        members = [user.encode() for user in sessions]
        async with deadline():
            holder = await self._holding.held()
            if not members:
                return []
            names, numbers = list(self._holding.names), list(sessions.values())
            rows = await self._holding.fetch(_COUNT, self._holding.now(), names, members, numbers)
        if rows and rows[0]["member"] is None:
            self._holding.lose(holder)
            raise Unavailable("the lease of this replica has ended")
        return [_status(UserId(row["member"].decode()), row["sessions"], row["at"]) for row in rows]

    async def status(self, users: Sequence[UserId]) -> Sequence[UserStatus]:
        """Read them in one statement. Promises 2, 3."""
        members = [user.encode() for user in users]
        rows = await self._holding.fetch(_STATUS, members, self._holding.now(), SEEN_S * 1_000)
        return [_status(user, row["sessions"], row["at"]) for user, row in zip(users, rows, strict=True)]

    def reaped(self) -> AsyncIterator[UserStatus | RostersLost]:
        """Yield those of the reaper. Promise 1."""
        return self._queue.listen()


def _status(user: UserId, sessions: int, at: int | None) -> UserStatus:
    return UserStatus(user, sessions > 0, sessions, None if sessions else at)
