"""Presence in a deployment of a single process. The process is the lease: what it holds is gone with it."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from server.adapters.clock import now_ms
from server.adapters.rosters import RosterQueue, TurnQueue
from server.domain.channels import ChannelName
from server.domain.identity import UserId
from server.domain.presence import NOBODY, ChannelTurned, Present, Roster, RosterChanged, RosterHead
from server.ports.presence import CHANGES_LIMIT, Presence, RostersLost

EPOCH_BYTES = 8


@dataclass(slots=True)
class _Roster:
    epoch: str
    version: int = 0
    members: dict[UserId, Present] = field(default_factory=dict)  # those that are there longest first

    @property
    def head(self) -> RosterHead:
        return RosterHead(self.epoch, self.version, len(self.members))


class MemoryPresence(Presence):
    """Keeps the rosters that are not empty. A channel `hears` its changes if it is subscribed."""

    def __init__(
        self,
        hears: Callable[[ChannelName], bool],
        limit: int = CHANGES_LIMIT,
        *,
        now_ms: Callable[[], int] = now_ms,
    ) -> None:
        self._hears, self._now_ms = hears, now_ms
        self._queue, self._turns = RosterQueue(limit), TurnQueue()
        self._rosters: dict[ChannelName, _Roster] = {}

    @property
    def dropped(self) -> int:
        """How many changes had no room in their queues."""
        return self._queue.dropped + self._turns.dropped

    @property
    def reaped(self) -> int:
        """No other replica's entries could be left."""
        return 0

    async def enter(
        self, channel: ChannelName, users: Mapping[UserId, str | None], seen: RosterHead = NOBODY
    ) -> RosterHead:
        """Enter those that are not there. Promises 1-3."""
        roster = self._rosters.get(channel)
        if roster is None:
            if not users:
                return NOBODY
            roster = self._rosters[channel] = _Roster(secrets.token_hex(EPOCH_BYTES))
        now = self._now_ms()
        joined = tuple(Present(user, name, now) for user, name in users.items() if user not in roster.members)
        roster.members.update({present.user: present for present in joined})
        return self._changed(channel, roster, (), joined)

    async def leave(self, channel: ChannelName, users: Sequence[UserId]) -> RosterHead:
        """Remove those that are there; forget a roster that is empty. Promises 1-3."""
        roster = self._rosters.get(channel)
        if roster is None:
            return NOBODY
        left = tuple(roster.members.pop(user) for user in dict.fromkeys(users) if user in roster.members)
        if not roster.members:
            del self._rosters[channel]
        return self._changed(channel, roster, left, ())

    async def read(self, channel: ChannelName, limit: int) -> Roster:
        """Return the first members. Promise 2."""
        roster = self._rosters.get(channel)
        if roster is None:
            return Roster(NOBODY, (), complete=True)
        members = tuple(islice(roster.members.values(), limit))
        return Roster(roster.head, members, complete=len(members) == len(roster.members))

    async def heads(self, channels: Sequence[ChannelName]) -> Mapping[ChannelName, RosterHead]:
        """Return the heads of all. Promise 2."""
        rosters = ((channel, self._rosters.get(channel)) for channel in channels)
        return {channel: NOBODY if roster is None else roster.head for channel, roster in rosters}

    async def renew(self) -> bool:
        """The entries hold as long as the process. Promise 4."""
        return True

    async def hand_over(self, linger_s: float) -> None:
        """Nobody is there to take over. Promise 5."""

    def listen(self) -> AsyncIterator[RosterChanged | RostersLost]:
        """Yield the changes, in order. Promise 3."""
        return self._queue.listen()

    def turns(self) -> AsyncIterator[ChannelTurned]:
        """Yield the turns, in order. Promise 8."""
        return self._turns.listen()

    async def run(self) -> None:
        """No other replica's entries could be left."""
        await asyncio.Event().wait()

    def _changed(
        self, channel: ChannelName, roster: _Roster, left: tuple[Present, ...], joined: tuple[Present, ...]
    ) -> RosterHead:
        roster.version += len(left) + len(joined)
        head = roster.head
        self._turns.note(channel, head, left=len(left), joined=len(joined))
        if (left or joined) and self._hears(channel):
            self._queue.put(RosterChanged(channel, head, left, joined))
        return head
