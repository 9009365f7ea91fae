"""Followed channels in NATS: a document for each user, which is the truth, and an entry for each follower of a channel.

A channel's entry is written first and corrected last: it may have a user too many, if a replica dies between, which
`followers` finds out, and none too few.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import orjson

from server.adapters.nats import names
from server.adapters.nats.documents import Documents
from server.adapters.nats.link import Link
from server.domain.channels import ChannelName
from server.domain.identity import UserId
from server.domain.marks import MAX_FOLLOWS, too_many_follows
from server.ports.follows import Follows

CORRECTIONS = 8
"""How often a channel's entry is corrected, at most, while the same user goes on following and unfollowing it."""

AT_ONCE = 100
"""Users that are asked about at once."""

Begin = Callable[[ChannelName, UserId], Awaitable[None]]
"""Moves the user's mark in the channel to the log's head, if there is none."""


class NatsFollows(Follows):
    """The channels that users follow; `begin` is of their marks."""

    def __init__(self, link: Link, begin: Begin, *, prefix: str = names.PREFIX, replicas: int = 1) -> None:
        self._users = Documents(link, "follows", prefix=prefix, replicas=replicas)
        self._channels = Documents(link, "followers", prefix=prefix, replicas=replicas)
        self._begin = begin

    async def follow(self, user: UserId, channel: ChannelName) -> bool:
        if not _may(await self._followed(user), channel):
            return False
        await self._channels.put(b"1", channel, user)
        await self._begin(channel, user)

        def add(data: bytes) -> tuple[bytes | None, bool]:
            channels = _names(data)
            return (orjson.dumps([*channels, channel]), True) if _may(channels, channel) else (None, False)

        try:
            return await self._users.change(add, user)
        finally:
            await self._correct(user, channel)

    async def unfollow(self, user: UserId, channel: ChannelName) -> bool:
        def remove(data: bytes) -> tuple[bytes | None, bool]:
            channels = _names(data)
            if channel not in channels:
                return None, False
            left = [each for each in channels if each != channel]
            return orjson.dumps(left) if left else b"", True

        removed = await self._users.change(remove, user)
        await self._correct(user, channel)
        return removed

    async def followed(self, user: UserId) -> Sequence[ChannelName]:
        return await self._followed(user)

    async def followers(self, channel: ChannelName, limit: int) -> Sequence[UserId]:
        users = [UserId(each.parts[1]) for each in await self._channels.all(channel)]
        found = list[UserId]()
        for start in range(0, len(users), AT_ONCE):
            some = users[start : start + AT_ONCE]
            follow = await asyncio.gather(*(self._followed(user) for user in some))
            for user, channels in zip(some, follow, strict=True):
                if channel in channels:
                    found.append(user)
                else:
                    await self._correct(user, channel)
            if len(found) >= limit:
                break
        return found[:limit]

    async def _correct(self, user: UserId, channel: ChannelName) -> None:
        """Let the channel's entry agree with the user's document, which may be changed at the same time."""
        agreed: bool | None = None
        for _ in range(CORRECTIONS):
            follows = channel in await self._followed(user)
            if follows == agreed:
                return
            if follows:
                await self._channels.put(b"1", channel, user)
            else:
                await self._channels.purge(channel, user)
            agreed = follows

    async def _followed(self, user: UserId) -> list[ChannelName]:
        found = await self._users.get(user)
        return [] if found is None else _names(found.data)


def _names(data: bytes) -> list[ChannelName]:
    return [ChannelName(name) for name in orjson.loads(data)] if data else []


def _may(channels: Sequence[ChannelName], channel: ChannelName) -> bool:
    """Say whether a follow is new. Raises `Conflict`."""
    if channel in channels:
        return False
    if len(channels) >= MAX_FOLLOWS:
        raise too_many_follows()
    return True
