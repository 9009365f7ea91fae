"""Reading marks in Redis: offsets by user, from which the rest is counted (unread.lua)."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from server.adapters.redis.message_log import RedisMessageLog
from server.adapters.redis.scripts import READING, Script
from server.adapters.redis.states import state_of
from server.domain.channels import ChannelName
from server.domain.identity import UserId
from server.domain.marks import InboxEntry, Mark, Marked, Receipt
from server.domain.messages import Tombstone
from server.ports.marks import Marks


class RedisMarks(Marks):
    """The marks in the channels of a log. Many channels are a script each, in few round trips: channels of different
    partitions share no script."""

    def __init__(self, log: RedisMessageLog) -> None:
        self._log = log
        self._mark = Script(log.marks, *READING, "mark")
        self._marks = Script(log.reads, *READING, "marks")
        self._receipts = Script(log.reads, "channel", "losses", "receipts")

    async def mark(self, channel: ChannelName, user: UserId, offset: int) -> Marked:
        return await self._move(channel, user, offset)

    async def begin(self, channel: ChannelName, user: UserId) -> None:
        """Give a user without a mark that of the head."""
        await self._move(channel, user, "")

    async def _move(self, channel: ChannelName, user: UserId, offset: int | str) -> Marked:
        *found, moved = await self._mark(self._log.keys(channel), *self._log.opening(channel), user, offset)
        return Marked(self._as_mark(channel, found), moved == b"1")

    async def marks(self, user: UserId, channels: Sequence[ChannelName]) -> Mapping[ChannelName, Mark]:
        found = await self._ask(user, channels, "")
        return {channel: self._as_mark(channel, each) for channel, each in zip(channels, found, strict=True)}

    async def inbox(self, user: UserId, channels: Sequence[ChannelName]) -> Sequence[InboxEntry]:
        found = await self._ask(user, channels, "1")
        return [self._entry(channel, each) for channel, each in zip(channels, found, strict=True)]

    async def receipts(self, channel: ChannelName, limit: int) -> Sequence[Receipt]:
        found = await self._receipts(self._log.keys(channel), *self._log.opening(channel), limit)
        pairs = zip(found[::2], found[1::2], strict=True)
        receipts = [Receipt(UserId(user.decode()), int(offset)) for user, offset in pairs]
        return sorted(receipts, key=lambda receipt: (-receipt.offset, receipt.user))

    async def _ask(self, user: UserId, channels: Sequence[ChannelName], last: str) -> Sequence[Sequence[Any]]:
        calls = [
            self._marks.submit(self._log.keys(channel), (*self._log.opening(channel), user, last), list)
            for channel in channels
        ]
        return list(await asyncio.gather(*calls))

    def _as_mark(self, channel: ChannelName, found: Sequence[Any]) -> Mark:
        epoch, head, at, offset, unread, mentions, *_ = found
        return Mark(int(offset), int(unread), int(mentions), self._log.head(channel, epoch, head, at))

    def _entry(self, channel: ChannelName, found: Sequence[Any]) -> InboxEntry:
        mark, last = self._as_mark(channel, found), found[6:]
        if not last or last[0] is None:
            return InboxEntry(channel, mark, None, None)
        with self._log.readable(channel):
            message = state_of(channel, last[0][:3])
            at = int(last[0][3].split(b" ", 2)[1]) if isinstance(message, Tombstone) else message.created_at
        return InboxEntry(channel, mark, message, at)
