"""Marks that can fail, or be slow, and count what they are asked."""

import asyncio
from collections.abc import Mapping, Sequence

from server.domain.channels import ChannelName
from server.domain.identity import UserId
from server.domain.marks import InboxEntry, Mark, Marked, Receipt
from server.ports.marks import Marks


class FaultyMarks(Marks):
    """Passes on to `inner`, unless `error` is set; waits while `open` is not. `reads` keeps the channels of each call
    of `marks`, `made` the offsets of each call of `mark`."""

    def __init__(self, inner: Marks) -> None:
        self.inner = inner
        self.error: Exception | None = None
        self.open = asyncio.Event()
        self.open.set()
        self.reads: list[list[ChannelName]] = []
        self.made: list[int] = []

    async def _pass(self) -> None:
        await self.open.wait()
        if self.error is not None:
            raise self.error

    async def mark(self, channel: ChannelName, user: UserId, offset: int) -> Marked:
        self.made.append(offset)
        await self._pass()
        return await self.inner.mark(channel, user, offset)

    async def marks(self, user: UserId, channels: Sequence[ChannelName]) -> Mapping[ChannelName, Mark]:
        self.reads.append([*channels])
        await self._pass()
        return await self.inner.marks(user, channels)

    async def receipts(self, channel: ChannelName, limit: int) -> Sequence[Receipt]:
        await self._pass()
        return await self.inner.receipts(channel, limit)

    async def inbox(self, user: UserId, channels: Sequence[ChannelName]) -> Sequence[InboxEntry]:
        await self._pass()
        return await self.inner.inbox(user, channels)
