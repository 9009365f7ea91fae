"""Which channels users follow."""

from collections.abc import Sequence
from typing import Protocol

from server.domain.channels import ChannelName
from server.domain.identity import UserId


class Follows(Protocol):
    """The channels that each user follows: those of their inbox.

    1. `follow` and `unfollow` are durable when they return, and doing so again changes nothing. Following a channel
       beyond `MAX_FOLLOWS` is a `Conflict`.
    2. A new follow of a channel in which the user has no mark moves the mark to the log's head of that moment.
    3. `Unavailable` within 2 s.
    """

    async def follow(self, user: UserId, channel: ChannelName) -> bool:
        """Follow a channel; say whether that is new. Promises 1-3."""
        ...

    async def unfollow(self, user: UserId, channel: ChannelName) -> bool:
        """Follow a channel no longer; say whether the user did. Promises 1, 3."""
        ...

    async def followed(self, user: UserId) -> Sequence[ChannelName]:
        """Return the channels that the user follows, in any order. Promise 3."""
        ...

    async def followers(self, channel: ChannelName, limit: int) -> Sequence[UserId]:
        """Return users that follow the channel, at most `limit`. Promise 3."""
        ...
