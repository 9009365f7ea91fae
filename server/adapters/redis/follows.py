"""Followed channels in Redis: a set for each user, which is the truth, and one for each channel.

The two are in different partitions, so no script writes both. A channel's set is written first and corrected last: it
may have a user too many, if a replica dies between, which `followers` finds out, and none too few.
"""

import asyncio
from collections.abc import Sequence

from server.adapters.redis import keys
from server.adapters.redis.marks import RedisMarks
from server.adapters.redis.message_log import RedisMessageLog
from server.adapters.redis.scripts import Script
from server.domain.channels import ChannelName
from server.domain.identity import UserId
from server.domain.marks import MAX_FOLLOWS, too_many_follows
from server.ports.follows import Follows

CORRECTIONS = 8
"""How often a channel's set is corrected, at most, while the same user goes on following and unfollowing it."""


class RedisFollows(Follows):
    """The channels that users follow; their marks are in the channels of a log."""

    def __init__(self, log: RedisMessageLog, marks: RedisMarks) -> None:
        self._commands, self._marks, self._prefix = log.marks, marks, log.prefix
        self._follow = Script(self._commands, "follow")

    async def follow(self, user: UserId, channel: ChannelName) -> bool:
        own, others = keys.follows(user, self._prefix), keys.followers(channel, self._prefix)
        if not await self._may(own, channel, "look"):
            return False
        await self._commands.ask("SADD", others, user)
        await self._marks.begin(channel, user)
        try:
            return await self._may(own, channel, "")
        finally:
            await self._correct(user, channel)

    async def _may(self, own: str, channel: ChannelName, look: str) -> bool:
        """Write the follow, or look if that can be done: whether it is new. Raises `Conflict`."""
        found = await self._follow((own,), channel, MAX_FOLLOWS, look)
        if found < 0:
            raise too_many_follows()
        return bool(found)

    async def unfollow(self, user: UserId, channel: ChannelName) -> bool:
        removed = await self._commands.ask("SREM", keys.follows(user, self._prefix), channel)
        await self._correct(user, channel)
        return bool(removed)

    async def _correct(self, user: UserId, channel: ChannelName) -> None:
        """Let the channel's set agree with the user's, which may be changed at the same time."""
        own, others = keys.follows(user, self._prefix), keys.followers(channel, self._prefix)
        agreed = None
        for _ in range(CORRECTIONS):
            follows = await self._commands.ask("SISMEMBER", own, channel)
            if follows == agreed:
                return
            await self._commands.ask("SADD" if follows else "SREM", others, user)
            agreed = follows

    async def followed(self, user: UserId) -> Sequence[ChannelName]:
        found = await self._commands.ask("SMEMBERS", keys.follows(user, self._prefix))
        return [ChannelName(channel.decode()) for channel in found]

    async def followers(self, channel: ChannelName, limit: int) -> Sequence[UserId]:
        others = keys.followers(channel, self._prefix)
        while True:
            found = [UserId(user.decode()) for user in await self._commands.ask("SRANDMEMBER", others, limit)]
            asked = (self._commands.ask("SISMEMBER", keys.follows(user, self._prefix), channel) for user in found)
            follow = await asyncio.gather(*asked)
            stale = [user for user, follows in zip(found, follow, strict=True) if not follows]
            if not stale:
                return found
            for user in stale:
                await self._correct(user, channel)
