"""Reading marks in JetStream: an entry for each user and channel, and, of authors, their messages themselves.

An author's mark needs no second write: it is where the last of their messages is that moves it. Before such a message
is dropped or erased, the mark is written down.
"""

import asyncio
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from heapq import nsmallest

from server.adapters.nats.fold import Fold
from server.adapters.nats.message_log import NatsMessageLog
from server.domain.channels import ChannelName
from server.domain.identity import UserId
from server.domain.marks import InboxEntry, Mark, Marked, Receipt
from server.domain.messages import EVERYBODY
from server.ports.marks import Marks


class NatsMarks(Marks):
    """The marks in the channels of a log. The first look at a channel reads its log."""

    def __init__(self, log: NatsMessageLog) -> None:
        self._log, self._side = log, log.side

    async def mark(self, channel: ChannelName, user: UserId, offset: int) -> Marked:
        async with self._log.streams.link.answered():
            fold = await self._log.fold(channel)
            own, offset = fold.marks.get(user, 0), min(offset, fold.head.offset)
            if offset > own:
                moved, present = await self._side.move_mark(channel, user, offset)
            else:
                moved, present = False, (await self._side.mark(channel, user))[0]
            return Marked(_mark(fold, user, max(own, present)), moved)

    async def begin(self, channel: ChannelName, user: UserId) -> None:
        """Move the user's mark to the head, if there is none."""
        [(mark, fold)] = await self._marked(user, [channel])
        if not mark.offset and fold.head.offset:
            async with self._log.streams.link.answered():
                await self._side.move_mark(channel, user, fold.head.offset)

    async def marks(self, user: UserId, channels: Sequence[ChannelName]) -> Mapping[ChannelName, Mark]:
        return {fold.name: mark for mark, fold in await self._marked(user, channels)}

    async def receipts(self, channel: ChannelName, limit: int) -> Sequence[Receipt]:
        async with self._log.streams.link.answered():
            fold = await self._log.fold(channel)
            marks = await self._side.marks(channel) if fold.head.offset else {}
        for user, offset in fold.marks.items():
            marks[user] = max(offset, marks.get(user, 0))
        head = fold.head.offset
        furthest = nsmallest(limit, marks.items(), key=lambda mark: (-min(mark[1], head), mark[0]))
        return [Receipt(user, min(offset, head)) for user, offset in furthest]

    async def inbox(self, user: UserId, channels: Sequence[ChannelName]) -> Sequence[InboxEntry]:
        return [_entry(mark, fold) for mark, fold in await self._marked(user, channels)]

    async def _marked(self, user: UserId, channels: Sequence[ChannelName]) -> list[tuple[Mark, Fold]]:
        """Return the user's marks, and the folds of the channels."""
        async with self._log.streams.link.answered():
            folds = await asyncio.gather(*(self._log.fold(channel) for channel in channels))
            begun = [fold.name for fold in folds if fold.head.offset]
            kept = dict(zip(begun, await self._side.marks_of(user, begun), strict=True))
        return [(_mark(fold, user, max(fold.marks.get(user, 0), kept.get(fold.name, 0))), fold) for fold in folds]


def _entry(mark: Mark, fold: Fold) -> InboxEntry:
    if not fold.ids:
        return InboxEntry(fold.name, mark, None, None)
    last = fold.messages[fold.ids[-1]]
    return InboxEntry(fold.name, mark, last.state, fold.at(last.offset).at)


def _mark(fold: Fold, user: UserId, offset: int) -> Mark:
    """Return the mark at an offset. The counts are those of the fold, whose head they are told for."""
    offset = min(offset, fold.head.offset)
    unread = _above(fold.offsets, offset) - _above(fold.gone, offset)
    mentions = [fold.mentions.get(name, ()) for name in {user, EVERYBODY}]
    return Mark(offset, unread, sum(_above(each, offset) for each in mentions), fold.head)


def _above(offsets: Sequence[int], offset: int) -> int:
    return len(offsets) - bisect_right(offsets, offset)
