"""Followed channels in memory."""

from collections.abc import Sequence
from itertools import islice

from server.adapters.memory.message_log import MemoryMessageLog
from server.domain.channels import ChannelName
from server.domain.identity import UserId
from server.domain.marks import MAX_FOLLOWS, too_many_follows
from server.ports.follows import Follows


class MemoryFollows(Follows):
    """The channels that users follow; their marks are in the channels of a log."""

    def __init__(self, log: MemoryMessageLog) -> None:
        self._log = log
        self._channels, self._users = log.followed, log.followers

    async def follow(self, user: UserId, channel: ChannelName) -> bool:
        channels = self._channels.setdefault(user, set())
        if channel in channels:
            return False
        if len(channels) >= MAX_FOLLOWS:
            raise too_many_follows()
        channels.add(channel)
        self._users.setdefault(channel, {})[user] = None
        log = self._log.channel(channel)
        if user not in log.marks:
            log.move_mark(user, log.head.offset)
        return True

    async def unfollow(self, user: UserId, channel: ChannelName) -> bool:
        if channel not in self._channels.get(user, ()):
            return False
        self._channels[user].remove(channel)
        del self._users[channel][user]
        if not self._channels[user]:
            del self._channels[user]
        if not self._users[channel]:
            del self._users[channel]
        return True

    async def followed(self, user: UserId) -> Sequence[ChannelName]:
        return [*self._channels.get(user, ())]

    async def followers(self, channel: ChannelName, limit: int) -> Sequence[UserId]:
        return [*islice(self._users.get(channel, ()), limit)]
