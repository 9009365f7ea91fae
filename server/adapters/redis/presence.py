"""Rosters in Redis: scripts that enter and leave, and publish the change in the order of versions (ADR 0043)."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from server.adapters.leased_presence import LeasedPresence
from server.adapters.redis import keys, presence_keys
from server.adapters.redis.bus import RedisBus
from server.adapters.redis.holding import Holding
from server.adapters.redis.reaper import Reaper
from server.adapters.redis.scripts import Script
from server.adapters.redis.signals import RedisSignals
from server.adapters.seal import Seal
from server.domain.channels import ChannelName
from server.domain.errors import Unavailable
from server.domain.identity import UserId
from server.domain.presence import NOBODY, Present, Roster, RosterHead
from server.ports.presence import CHANGES_LIMIT

WAIT_S = 1.9
"""For a call that may have to begin a lease first."""


class RedisPresence(LeasedPresence):
    """Rosters over the pipeline of `holding`. Changes come by `signals` on the topics of `bus`."""

    def __init__(
        self,
        holding: Holding,
        reaper: Reaper,
        bus: RedisBus,
        signals: RedisSignals,
        seal: Seal,
        limit: int = CHANGES_LIMIT,
    ) -> None:
        super().__init__(holding, reaper, limit)
        self._bus, self._prefix, self._holding = bus, holding.prefix, holding
        pipeline = holding.pipeline
        self._enter = Script(pipeline, "roster", "roster_enter", seal=seal)
        self._leave = Script(pipeline, "roster", "roster_leave", seal=seal)
        self._read, self._heads = Script(pipeline, "roster_read"), Script(pipeline, "roster_heads")
        reaper.on_left = lambda channel, head, left: self._turns.note(channel, head, left=left)
        signals.on_roster = self._take
        bus.on_restored.append(self._restored)
        bus.on_moved.append(self._queue.put_lost)

    async def enter(
        self, channel: ChannelName, users: Mapping[UserId, str | None], seen: RosterHead = NOBODY
    ) -> RosterHead:
        """Call a script. Promises 1-4, 6."""
        if not users:
            return (await self.heads((channel,)))[channel]
        words = [word for user, name in users.items() for word in (user, "" if name is None else f"={name}")]
        async with self._deadline():
            name = await self._holding.held()
            names = *presence_keys.roster(channel, self._prefix), *self._held(channel, name)
            told = f"{seen.epoch} {seen.version}"
            answer = await self._enter(names, *self._common(channel), name, told, *words)
            head, joined = self._head(name, answer)
            self._turns.note(channel, head, joined=joined)
            return head

    async def leave(self, channel: ChannelName, users: Sequence[UserId]) -> RosterHead:
        """Call a script. Promises 1-3, 6."""
        if not users:
            return (await self.heads((channel,)))[channel]
        async with self._deadline():
            name = await self._holding.held()
            holders = self._holding.names
            held = [key for holder in holders for key in self._held(channel, holder)]
            names = *presence_keys.roster(channel, self._prefix), *held
            users = tuple(dict.fromkeys(users))
            answer = await self._leave(names, *self._common(channel), len(holders), *holders, *users)
            head, left = self._head(name, answer)
            self._turns.note(channel, head, left=left)
            return head

    async def read(self, channel: ChannelName, limit: int) -> Roster:
        """Call a script. Promises 2, 6."""
        roster, count, found, entries = await self._read(presence_keys.roster(channel, self._prefix), limit)
        pairs = zip(found[::2], found[1::2], entries, strict=True)
        members = tuple(_present(user, since, entry) for user, since, entry in pairs)
        return Roster(_read_head(roster, count), members, complete=len(members) == int(count))

    async def heads(self, channels: Sequence[ChannelName]) -> Mapping[ChannelName, RosterHead]:
        """Call a script for each partition. Promises 2, 6."""
        parts = defaultdict[str, list[ChannelName]](list)
        for channel in dict.fromkeys(channels):
            parts[keys.partition(channel)].append(channel)
        heads = dict[ChannelName, RosterHead]()
        for part in await asyncio.gather(*map(self._heads_of, parts.values())):
            heads.update(part)
        return heads

    @asynccontextmanager
    async def _deadline(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(WAIT_S):
                yield
        except TimeoutError as error:
            raise Unavailable("Redis does not answer in time") from error

    async def _heads_of(self, channels: Sequence[ChannelName]) -> Mapping[ChannelName, RosterHead]:
        rosters = [presence_keys.roster(channel, self._prefix) for channel in channels]
        found = await self._heads(tuple(key for who, _, roster in rosters for key in (who, roster)))
        return {
            channel: _read_head(roster, count)
            for channel, roster, count in zip(channels, found[::2], found[1::2], strict=True)
        }

    def _held(self, channel: ChannelName, holder: str) -> tuple[str, str]:
        return presence_keys.held(keys.partition(channel), holder, self._prefix)

    def _common(self, channel: ChannelName) -> tuple[str, str, str, str]:
        return channel, self._bus.topic(channel), presence_keys.new_epoch(), self._holding.now()

    def _head(self, name: str, answer: Sequence[Any]) -> tuple[RosterHead, int]:
        """Return the head of an answer, and how many users have entered or left by the call."""
        if answer[0] == b"dead":
            self._holding.lose(name)
            raise Unavailable("the lease of this replica has ended")
        epoch, version, count, changes = answer
        return RosterHead(epoch.decode(), int(version), int(count)), int(changes)


def _read_head(roster: bytes | None, count: int) -> RosterHead:
    if roster is None:
        return NOBODY
    epoch, version = roster.split(b" ")
    return RosterHead(epoch.decode(), int(version), int(count))


def _present(user: bytes, since: bytes, entry: bytes | None) -> Present:
    name = (entry or b"").partition(b" ")[2]
    return Present(UserId(user.decode()), name[1:].decode() if name else None, int(float(since)))
