"""Followed channels in the log's file: written with the drafts of messages, in their transactions."""

from collections.abc import Sequence

import orjson

from server.adapters.sqlite.entries import Following
from server.adapters.sqlite.message_log import SqliteMessageLog
from server.adapters.sqlite.reader_threads import Row
from server.domain.channels import ChannelName
from server.domain.identity import UserId
from server.ports.follows import Follows

_FOLLOWED = "SELECT json_group_array(channel) FROM follows WHERE user = ?"
_FOLLOWERS = "SELECT json_group_array(user) FROM (SELECT user FROM follows WHERE channel = ? LIMIT ?)"


class SqliteFollows(Follows):
    """The channels that users follow; their marks are in the channels of a log."""

    def __init__(self, log: SqliteMessageLog) -> None:
        self._log = log

    async def follow(self, user: UserId, channel: ChannelName) -> bool:
        new: bool = await self._log.write(Following(channel, user, follow=True))
        return new

    async def unfollow(self, user: UserId, channel: ChannelName) -> bool:
        followed: bool = await self._log.write(Following(channel, user, follow=False))
        return followed

    async def followed(self, user: UserId) -> Sequence[ChannelName]:
        return await self._log.reader.query(_FOLLOWED, (user,), _channels)

    async def followers(self, channel: ChannelName, limit: int) -> Sequence[UserId]:
        return await self._log.reader.query(_FOLLOWERS, (channel, limit), _users)


def _channels(row: Row | None) -> Sequence[ChannelName]:
    return [ChannelName(name) for name in _list(row)]


def _users(row: Row | None) -> Sequence[UserId]:
    return [UserId(name) for name in _list(row)]


def _list(row: Row | None) -> Sequence[str]:
    assert row is not None  # an aggregate always has a row
    names: list[str] = orjson.loads(row[0])
    return names
