"""How far users have read, kept with the logs of the channels."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from server.domain.channels import ChannelName
from server.domain.identity import UserId
from server.domain.marks import InboxEntry, Mark, Marked, Receipt

MANY = 1_000
"""Channels that are asked for at once, at most."""

MENTIONS_COUNTED = 1_000
"""Unread messages that name a user, and as many that name everybody, which every store counts. A store may count no
more of them than these, the last."""


class Marks(Protocol):
    """A mark for each user and channel: no counter. Implemented beside a `MessageLog`, in the same store.

    1. `mark` moves the mark to the offset if that is further, at most to the log's head. It never moves back.
    2. A `NewMessage` with `marks` moves its author's mark to its own offset, in the step that appends it.
    3. `unread` and, up to `MENTIONS_COUNTED`, `unread_mentions` are exact at the moment of `Mark.head`, whatever was
       edited, deleted or dropped by retention before; a mark below the log's floor counts as the floor. A message
       counts as unread for its author, too, if its draft had no `marks`.
    4. A mark is as durable as an event, lives as long as the channel's log, and is lost with it: in a new epoch of a
       lost log there are none. If the same log goes on in a new epoch, marks stay, at most at its head. An offset alone
       is kept, no epoch.
    5. `receipts` gives the users that have read furthest, at most `limit`, the furthest first, ties by user.
    6. `Unavailable` within 2 s, as for a read of the log; `mark` as for an append.
    """

    async def mark(self, channel: ChannelName, user: UserId, offset: int) -> Marked:
        """Move a mark. Promises 1, 3, 4, 6."""
        ...

    async def marks(self, user: UserId, channels: Sequence[ChannelName]) -> Mapping[ChannelName, Mark]:
        """Return the user's marks in the channels, at most `MANY`: of each channel, also if there is no mark. In a
        shared store this costs one round trip, or few. Promises 3, 4, 6."""
        ...

    async def receipts(self, channel: ChannelName, limit: int) -> Sequence[Receipt]:
        """Return the marks of a channel. Promises 5, 6."""
        ...

    async def inbox(self, user: UserId, channels: Sequence[ChannelName]) -> Sequence[InboxEntry]:
        """Return what an inbox says of each of the channels, at most `MANY`, in their order. Promises 3, 4, 6."""
        ...
