"""Rosters in NATS: a document for each channel, changed by compare-and-set; changes go over the channel's topic."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from weakref import WeakValueDictionary

from server.adapters.leased_presence import LeasedPresence
from server.adapters.nats.documents import Documents
from server.adapters.nats.holding import CHANNELS, Holding
from server.adapters.nats.reaper import Reaper
from server.adapters.nats.roster import Members
from server.adapters.rosters import encode_roster
from server.adapters.topics.topics import Kind, Topics
from server.domain.channels import ChannelName
from server.domain.identity import UserId
from server.domain.presence import NOBODY, Present, Roster, RosterChanged, RosterHead
from server.ports.presence import CHANGES_LIMIT

WAIT_S = 1.9
"""For a call, which may have to begin a lease first."""

TOLD_BYTES = 16_000
"""Of a change; a longer one tells the head alone."""

AT_ONCE = 500
"""Heads that are asked for at once."""


class NatsPresence(LeasedPresence):
    """Rosters over the link of `holding`; `topics` carries their changes."""

    def __init__(self, holding: Holding, reaper: Reaper, topics: Topics, limit: int = CHANGES_LIMIT) -> None:
        super().__init__(holding, reaper, limit)
        self._holding, self._reaper, self._topics, self._link = holding, reaper, topics, holding.link
        self._rosters: Documents = reaper.rosters
        # A call for a channel at a time: what one lists, another may not take off the list.
        self._calls: WeakValueDictionary[ChannelName, asyncio.Lock] = WeakValueDictionary()
        reaper.on_left = self._left
        topics.hear(Kind.ROSTER, self._take)
        topics.bus.on_restored.append(self._restored)

    async def enter(
        self, channel: ChannelName, users: Mapping[UserId, str | None], seen: RosterHead = NOBODY
    ) -> RosterHead:
        """Change the document. Promises 1-4, 6."""
        if not users:
            return (await self.heads((channel,)))[channel]
        async with self._deadline(), self._calls.setdefault(channel, asyncio.Lock()):
            name = await self._holding.living()
            await self._holding.list(name, CHANNELS, (channel,))
            now = await self._holding.now_ms()

            def change(data: bytes) -> tuple[bytes | None, tuple[RosterHead, tuple[Present, ...], bool]]:
                members = Members.read(data)
                joined, told = members.enter(name, users, now, seen)
                return members.written() if members.changed else None, (members.head, joined, told)

            head, joined, told = await self._rosters.change(change, channel)
            await self._holding.held()  # else others may have removed this replica's entries before that one
            self._turns.note(channel, head, joined=len(joined))
            if told:
                self._tell(RosterChanged(channel, head, (), joined))
            return head

    async def leave(self, channel: ChannelName, users: Sequence[UserId]) -> RosterHead:
        """Change the document. Promises 1-3, 6."""
        if not users:
            return (await self.heads((channel,)))[channel]
        async with self._deadline(), self._calls.setdefault(channel, asyncio.Lock()):
            await self._holding.living()
            holders = self._holding.names

            def change(data: bytes) -> tuple[bytes | None, tuple[Members, tuple[Present, ...]]]:
                members = Members.read(data)
                left = members.leave(holders, users)
                return members.written() if members.changed else None, (members, left)

            members, left = await self._rosters.change(change, channel)
            if left:
                self._left(RosterChanged(channel, members.head, left, ()))
                if not members.users:
                    await self._reaper.emptied(channel)
            for holder in holders:
                if not members.has(holder):
                    await self._holding.unlist(holder, CHANNELS, (channel,))
            return members.head

    async def read(self, channel: ChannelName, limit: int) -> Roster:
        """Read the document. Promises 2, 6."""
        return (await self._members(channel)).roster(limit)

    async def heads(self, channels: Sequence[ChannelName]) -> Mapping[ChannelName, RosterHead]:
        """Read the documents. Promises 2, 6."""
        asked, heads = list(dict.fromkeys(channels)), dict[ChannelName, RosterHead]()
        for start in range(0, len(asked), AT_ONCE):
            some = asked[start : start + AT_ONCE]
            found = await asyncio.gather(*map(self._members, some))
            heads |= {channel: members.head for channel, members in zip(some, found, strict=True)}
        return heads

    def _deadline(self) -> AbstractAsyncContextManager[None]:
        return self._link.answered(WAIT_S)

    async def _members(self, channel: ChannelName) -> Members:
        found = await self._rosters.get(channel)
        return Members.read(b"" if found is None else found.data)

    def _left(self, change: RosterChanged) -> None:
        self._turns.note(change.channel, change.head, left=len(change.left))
        self._tell(change)

    def _tell(self, change: RosterChanged) -> None:
        """Tell all replicas. A change that is not told, or that comes late, is missed by its version (promise 3)."""
        body = encode_roster(change)
        if len(body) > TOLD_BYTES:
            body = encode_roster(change, names=False)
        self._topics.tell(change.channel, Kind.ROSTER, body, _missed)


def _missed() -> None:
    """Nothing to do: the next change shows it."""
