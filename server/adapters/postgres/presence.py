"""Rosters in PostgreSQL: functions that enter and leave (schema_presence.sql), and changes on the channels' topics."""

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from itertools import accumulate, repeat
from operator import itemgetter
from typing import NamedTuple, TypeVar

from asyncpg import Record

from server.adapters.leased_presence import LeasedPresence
from server.adapters.postgres.calls import Calls
from server.adapters.postgres.deadline import deadline
from server.adapters.postgres.holding import Holding
from server.adapters.postgres.reaper import Reaper, gone, present
from server.adapters.rosters import encode_roster
from server.adapters.topics.topics import Kind, Topics
from server.domain.channels import ChannelName
from server.domain.errors import Unavailable
from server.domain.identity import UserId
from server.domain.presence import NOBODY, Present, Roster, RosterChanged, RosterHead
from server.ports.presence import CHANGES_LIMIT

# A call for each channel, in one order of locks. The members of a call are a slice.
_ENTER = """
SELECT c.n, f.* FROM unnest($3::text[], $4::text[], $5::text[], $6::bigint[], $7::int[], $8::int[])
    WITH ORDINALITY c (channel, epoch, seen_epoch, seen_version, first, last, n),
LATERAL maru.enter_roster($1, c.channel, $2, c.epoch, c.seen_epoch, c.seen_version,
    ($9::bytea[])[c.first:c.last], ($10::bytea[])[c.first:c.last]) f
"""
_LEAVE = """
SELECT c.n, f.* FROM unnest($3::text[], $4::int[], $5::int[]) WITH ORDINALITY c (channel, first, last, n),
LATERAL maru.leave_roster($1, c.channel, $2, ($6::bytea[])[c.first:c.last]) f
"""
_HEADS = "SELECT channel, epoch, version, count FROM maru.rosters WHERE channel = ANY ($1)"
_READ = """
SELECT r.epoch, r.version, r.count, m.member, m.name, m.since FROM maru.rosters r LEFT JOIN LATERAL (
    SELECT * FROM maru.members m WHERE m.channel = $1 ORDER BY m.since, m.member LIMIT $2
) m ON true WHERE r.channel = $1 ORDER BY m.since, m.member
"""


_Answer = TypeVar("_Answer")


class _Enter(NamedTuple):
    """Users that enter a roster, whose head was `seen`."""

    channel: ChannelName
    users: Mapping[UserId, str | None]
    seen: RosterHead


class PostgresPresence(LeasedPresence):
    """Rosters in the database of `holding`; `topics` carries their changes."""

    def __init__(self, holding: Holding, reaper: Reaper, topics: Topics, limit: int = CHANGES_LIMIT) -> None:
        super().__init__(holding, reaper, limit)
        self._holding, self._topics = holding, topics
        self._enters, self._leaves = Calls(self._enter), Calls(self._leave)
        reaper.on_left = self._left
        topics.hear(Kind.ROSTER, self._take)
        topics.bus.on_restored.append(self._restored)

    async def enter(
        self, channel: ChannelName, users: Mapping[UserId, str | None], seen: RosterHead = NOBODY
    ) -> RosterHead:
        """Call a function. Promises 1-4, 6."""
        if not users:
            return (await self.heads((channel,)))[channel]
        async with self._deadline():
            head, joined, told = await self._enters.ask(_Enter(channel, users, seen))
            self._turns.note(channel, head, joined=len(joined))
            if told:
                await self._tell(RosterChanged(channel, head, (), joined))
            return head

    async def leave(self, channel: ChannelName, users: Sequence[UserId]) -> RosterHead:
        """Call a function. Promises 1-3, 6."""
        if not users:
            return (await self.heads((channel,)))[channel]
        async with self._deadline():
            head, left = await self._leaves.ask((channel, users))
            if left:
                self._turns.note(channel, head, left=len(left))
                await self._tell(RosterChanged(channel, head, left, ()))
            return head

    async def read(self, channel: ChannelName, limit: int) -> Roster:
        """Read head and members in one statement. Promises 2, 6."""
        rows = await self._holding.fetch(_READ, channel, limit)
        if not rows:
            return Roster(NOBODY, (), complete=True)
        members = tuple(present(row["member"], row["name"], row["since"]) for row in rows if row["member"] is not None)
        head = RosterHead(rows[0]["epoch"], rows[0]["version"], rows[0]["count"])
        return Roster(head, members, complete=len(members) == head.count)

    async def heads(self, channels: Sequence[ChannelName]) -> Mapping[ChannelName, RosterHead]:
        """Read them in one statement. Promises 2, 6."""
        rows = await self._holding.fetch(_HEADS, list(dict.fromkeys(channels)))
        known = {row["channel"]: RosterHead(row["epoch"], row["version"], row["count"]) for row in rows}
        return {channel: known.get(channel, NOBODY) for channel in channels}

    def _deadline(self) -> AbstractAsyncContextManager[None]:
        return deadline()

    async def _enter(self, calls: Sequence[_Enter]) -> Sequence[tuple[RosterHead, tuple[Present, ...], bool]]:
        holder = await self._holding.held()
        order = sorted(range(len(calls)), key=lambda number: calls[number].channel)
        sorted_ = [calls[number] for number in order]
        users = [list(call.users.items()) for call in sorted_]
        rows = await self._holding.fetch(
            _ENTER,
            self._holding.now(),
            holder,
            [call.channel for call in sorted_],
            [secrets.token_hex(8) for _ in sorted_],
            [call.seen.epoch for call in sorted_],
            [call.seen.version for call in sorted_],
            *_slices(users),
            [user.encode() for part in users for user, _ in part],
            [None if name is None else name.encode() for part in users for _, name in part],
        )
        heads = [self._head(holder, row) for row in rows]
        joined = [tuple(map(present, row["joined"], row["joined_names"], repeat(row["at"]))) for row in rows]
        return _back(order, list(zip(heads, joined, (row["told"] for row in rows), strict=True)))

    async def _leave(
        self, calls: Sequence[tuple[ChannelName, Sequence[UserId]]]
    ) -> Sequence[tuple[RosterHead, tuple[Present, ...]]]:
        holder = await self._holding.held()
        order = sorted(range(len(calls)), key=lambda number: calls[number][0])
        users = [sorted(set(calls[number][1])) for number in order]
        rows = await self._holding.fetch(
            _LEAVE,
            self._holding.now(),
            list(self._holding.names),
            [calls[number][0] for number in order],
            *_slices(users),
            [user.encode() for part in users for user in part],
        )
        return _back(order, [(self._head(holder, row), gone(row)) for row in rows])

    def _head(self, holder: str, row: Record) -> RosterHead:
        """Return the head of an answer. Raises `Unavailable` if the holder is dead."""
        if row["state"] == "dead":
            self._holding.lose(holder)
            raise Unavailable("the lease of this replica has ended")
        return NOBODY if row["epoch"] is None else RosterHead(row["epoch"], row["version"], row["count"])

    async def _left(self, changes: Sequence[RosterChanged]) -> None:
        for change in changes:
            self._turns.note(change.channel, change.head, left=len(change.left))
        await asyncio.gather(*map(self._tell, changes))

    async def _tell(self, change: RosterChanged) -> None:
        """Tell all replicas. A change that is not told, or that comes late, is missed by its version (promise 3)."""
        body = encode_roster(change)
        if not self._topics.fits(body):
            body = encode_roster(change, names=False)
        if self._topics.bus.linked.is_set():
            with suppress(Unavailable):
                await self._topics.publish(change.channel, Kind.ROSTER, body)


def _slices(parts: Sequence[Sequence[object]]) -> tuple[list[int], list[int]]:
    """Return, of parts that are joined to a list, the numbers of the first and of the last item of each, from 1."""
    lasts = list(accumulate(map(len, parts)))
    return [last - len(part) + 1 for part, last in zip(parts, lasts, strict=True)], lasts


def _back(order: Sequence[int], answers: Sequence[_Answer]) -> list[_Answer]:
    """Return the answers in the order of the calls, of which `order` are the numbers."""
    return [answer for _, answer in sorted(zip(order, answers, strict=True), key=itemgetter(0))]
