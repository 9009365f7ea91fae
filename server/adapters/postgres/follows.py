"""Followed channels in PostgreSQL."""

from collections.abc import Sequence

from server.adapters.postgres.message_log import PostgresMessageLog
from server.domain.channels import ChannelName
from server.domain.identity import UserId
from server.domain.marks import MAX_FOLLOWS, too_many_follows
from server.ports.follows import Follows

_FOLLOW = "SELECT maru.follow($1, $2, $3)"
_UNFOLLOW = 'DELETE FROM maru.follows WHERE "user" = $1 AND channel = $2'
_FOLLOWED = 'SELECT channel FROM maru.follows WHERE "user" = $1'
_FOLLOWERS = 'SELECT "user" FROM maru.follows WHERE channel = $1 LIMIT $2'


class PostgresFollows(Follows):
    """The channels that users follow; their marks are in the channels of a log."""

    def __init__(self, log: PostgresMessageLog) -> None:
        self._db = log.database

    async def follow(self, user: UserId, channel: ChannelName) -> bool:
        new: bool | None = await self._db.fetchval(_FOLLOW, user, channel, MAX_FOLLOWS)
        if new is None:
            raise too_many_follows()
        return new

    async def unfollow(self, user: UserId, channel: ChannelName) -> bool:
        return await self._db.execute(_UNFOLLOW, user, channel) != "DELETE 0"

    async def followed(self, user: UserId) -> Sequence[ChannelName]:
        return [ChannelName(row["channel"]) for row in await self._db.fetch(_FOLLOWED, user)]

    async def followers(self, channel: ChannelName, limit: int) -> Sequence[UserId]:
        return [UserId(row["user"]) for row in await self._db.fetch(_FOLLOWERS, channel, limit)]
