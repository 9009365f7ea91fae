"""Reading marks in memory."""

from collections.abc import Mapping, Sequence
from heapq import nsmallest

from server.adapters.memory.message_log import MemoryMessageLog
from server.domain.channels import ChannelName
from server.domain.identity import UserId
from server.domain.marks import InboxEntry, Mark, Marked, Receipt
from server.ports.marks import Marks


class MemoryMarks(Marks):
    """The marks in the channels of a log."""

    def __init__(self, log: MemoryMessageLog) -> None:
        self._log = log

    async def mark(self, channel: ChannelName, user: UserId, offset: int) -> Marked:
        log = self._log.channel(channel)
        moved = log.move_mark(user, min(offset, log.head.offset))
        return Marked(log.mark(user), moved)

    async def marks(self, user: UserId, channels: Sequence[ChannelName]) -> Mapping[ChannelName, Mark]:
        return {channel: self._log.channel(channel).mark(user) for channel in channels}

    async def receipts(self, channel: ChannelName, limit: int) -> Sequence[Receipt]:
        marks = self._log.channel(channel).marks.items()
        furthest = nsmallest(limit, marks, key=lambda mark: (-mark[1], mark[0]))
        return [Receipt(user, offset) for user, offset in furthest]

    async def inbox(self, user: UserId, channels: Sequence[ChannelName]) -> Sequence[InboxEntry]:
        return [self._entry(user, channel) for channel in channels]

    def _entry(self, user: UserId, channel: ChannelName) -> InboxEntry:
        log = self._log.channel(channel)
        if not log.ids:
            return InboxEntry(channel, log.mark(user), None, None)
        last = log.messages[log.ids[-1]]
        return InboxEntry(channel, log.mark(user), last.state, log.at(last.offset).at)
