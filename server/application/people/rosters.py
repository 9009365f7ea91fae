"""Rosters of the channels that have sessions here: read once, and then kept by the changes that are heard."""

import asyncio
from collections.abc import Callable
from itertools import islice

from server.application.people.attendance import Attendance
from server.application.people.crew import Crew
from server.application.people.roster import HeldRoster, difference, follows, is_behind, is_old
from server.application.people.telling import Telling
from server.domain.channels import ChannelName
from server.domain.errors import MaruError, NotJoined, Unavailable
from server.domain.identity import UserId
from server.domain.presence import (
    NAMES_AGAIN,
    NAMES_LIMIT,
    NOBODY,
    SHOWN_MEMBERS,
    Roster,
    RosterChanged,
    RosterHead,
)
from server.ports.presence import Presence
from server.ports.presence_metrics import PresenceMetrics
from server.ports.transport import Transport

READS = 16
"""Rosters that are read at once."""

RETRY_S = 0.5
"""Pause after a read that failed."""

SHOWN_S = 1.0
"""How long an answer with a count is good for others, too: a large roster costs its store milliseconds."""

COMPARED_AT_ONCE = 500
"""Heads that are asked for at once."""

COMPARE_S = 20.0
"""Between two comparisons of a roster with the store: how long a change that was lost, and is the last, goes unseen."""


class Rosters:
    """What the members of channels are told, and shown, of each other. `missing` is called with a user that attends
    here, and is not in the roster; `away` says whether the store is; `clock` is monotonic, in seconds."""

    def __init__(  # all that a roster depends on
        self,
        store: Presence,
        attendance: Attendance,
        transport: Transport,
        clock: Callable[[], float],
        missing: Callable[[ChannelName, UserId], None],
        away: Callable[[], bool],
        metrics: PresenceMetrics,
    ) -> None:
        self._store = store
        self._attendance = attendance
        self._clock = clock
        self._missing = missing
        self._away = away
        self._metrics = metrics
        self._rosters: dict[ChannelName, HeldRoster] = {}
        self._reads = Crew(self._read, READS)
        self.telling = Telling(transport, attendance, self._rosters.get, metrics)

    def __len__(self) -> int:
        """How many rosters have their members in memory."""
        return sum(roster.members is not None for roster in tuple(self._rosters.values()))

    def head(self, channel: ChannelName) -> RosterHead:
        """Return the head that is known of a roster; `NOBODY` if none is."""
        roster = self._rosters.get(channel)
        return NOBODY if roster is None or roster.head is None else roster.head

    def open(self, channel: ChannelName, *, counts_only: bool) -> None:
        """Follow the channel's roster, since it has a session here."""
        if channel not in self._rosters:
            self._rosters[channel] = HeldRoster(channel, counts_only=counts_only)

    def close(self, channel: ChannelName) -> None:
        """Follow the channel's roster no longer."""
        if (roster := self._rosters.pop(channel, None)) is not None:
            roster.wake_all()

    def count_only(self, channel: ChannelName) -> None:
        """Tell counts in a channel from here on, until few are there."""
        if (roster := self._rosters.get(channel)) is not None and not roster.counts:
            roster.count_only()
            self.telling.count(channel)

    def doubt_all(self) -> None:
        """Read again the rosters that are known, since changes may have been lost."""
        for roster in self._rosters.values():
            if roster.members is not None:
                self._begin_read(roster)

    async def run(self) -> None:
        """Read, until cancelled."""
        await self._reads.run()

    async def compare(self) -> None:
        """Compare the rosters that are known with the store, until cancelled."""
        while True:
            await asyncio.sleep(COMPARE_S)
            known = iter([channel for channel, roster in self._rosters.items() if roster.lists or roster.counts])
            while channels := list(islice(known, COMPARED_AT_ONCE)):
                await self._compare(channels)

    async def shown(self, channel: ChannelName, user: UserId) -> Roster:
        """Return the roster for a member of it. In the step in which this returns, every change up to its version has
        been told, and none beyond it. Raises `NotJoined` and `Unavailable`, and waits for the user to be entered."""
        while True:
            roster = self._rosters.get(channel)
            if roster is None:
                raise NotJoined("join the channel first")
            if self._away():
                raise Unavailable("the store of presence is away")
            if roster.counts:
                return await self._counted(roster)
            if (shown := roster.shows(user)) is not None:
                return shown
            if roster.members is None and not roster.reading:
                self._begin_read(roster)
            await roster.joined(user)

    async def heard(self, change: RosterChanged) -> None:
        """Take a change, and tell of it."""
        self._look_for_lost(change)
        roster = self._rosters.get(change.channel)
        if roster is None:
            return
        if roster.reading:
            roster.hold(change)
        elif not is_old(change, roster.head) and not await self._follow(roster, change):
            self._begin_read(roster)
            roster.hold(change)

    def _look_for_lost(self, change: RosterChanged) -> None:
        """Enter users again that attend here and were taken out by another replica, for which this one seemed dead."""
        attendees = self._attendance.of(change.channel)
        for present in change.left:
            attendee = attendees.get(present.user)
            if attendee is not None and not attendee.gone:
                self._missing(change.channel, present.user)

    async def _follow(self, roster: HeldRoster, change: RosterChanged, *, catches_up: bool = False) -> bool:
        """Take the next change; return False, and do nothing, if there is a hole before it."""
        if roster.members is not None and not follows(change, roster.head):
            self._metrics.presence_hole()
            return False
        if roster.counts or change.head.count > NAMES_LIMIT:
            self._count(roster, change)
        else:
            await self.telling.tell(roster, change, catches_up=catches_up)
        return True

    def _count(self, roster: HeldRoster, change: RosterChanged) -> None:
        """Let the count be told; and names from here on, if few enough are there."""
        roster.head = change.head
        if not roster.counts:
            roster.count_only()
        elif change.head.count < NAMES_AGAIN and not roster.counts_only:
            roster.counts = False
        self.telling.count(roster.channel)

    # Reading

    def _begin_read(self, roster: HeldRoster) -> None:
        roster.reading, roster.overrun = True, False
        roster.held.clear()  # the read will have them
        self._reads.put(roster.channel)

    async def _read(self, channel: ChannelName) -> None:
        roster = self._rosters.get(channel)
        if roster is None or not roster.reading:
            return
        try:
            found = await self._store.read(channel, NAMES_LIMIT)
            if is_behind(found.head, roster.head):
                self._enter_all(channel)
                raise Unavailable("the store has gone back in time")
        except MaruError:
            await asyncio.sleep(RETRY_S)
            self._reads.put(channel)
            return
        if self._rosters.get(channel) is roster:
            await self._take(roster, found)

    async def _take(self, roster: HeldRoster, found: Roster) -> None:
        """Take what was read, tell what has changed by it, and go on with the changes that were held meanwhile."""
        if not found.complete:
            roster.head = found.head
            roster.count_only()
            self.telling.count(roster.channel)
        elif not roster.counts:
            if roster.members is not None:
                await self.telling.tell(roster, difference(roster, found), catches_up=True)
            roster.members = {present.user: present for present in found.members}
            roster.head = found.head
        while roster.held and not roster.overrun:
            change = roster.held.popleft()
            if not is_old(change, roster.head):
                roster.overrun = not await self._follow(roster, change, catches_up=True)
        if roster.overrun:
            self._begin_read(roster)
            return
        roster.reading = roster.overrun = False
        roster.held.clear()
        self._look_for_own(roster)
        roster.wake_all()

    def _look_for_own(self, roster: HeldRoster) -> None:
        """Enter users again that the store has lost."""
        if (members := roster.members) is not None:
            for user, attendee in self._attendance.of(roster.channel).items():
                if not attendee.gone and user not in members:
                    self._missing(roster.channel, user)

    def _enter_all(self, channel: ChannelName) -> None:
        """Enter all again, by which a roster that has gone back in time gets a new epoch."""
        for user in self._attendance.of(channel):
            self._missing(channel, user)

    async def _counted(self, roster: HeldRoster) -> Roster:
        """Return the count, and those that are there longest unless the rule says that nobody is named."""
        async with roster.counting:  # those that ask meanwhile are given the same answer
            if roster.shown is None or roster.shown[0] + SHOWN_S <= self._clock():
                found = await self._store.read(roster.channel, 1 if roster.counts_only else SHOWN_MEMBERS)
                members = () if roster.counts_only else found.members
                roster.shown = self._clock(), Roster(found.head, members, complete=False)
            return roster.shown[1]

    async def _compare(self, channels: list[ChannelName]) -> None:
        try:
            heads = await self._store.heads(channels)
        except MaruError:
            return
        for channel in channels:
            roster, head = self._rosters.get(channel), heads.get(channel)
            if roster is None or head is None or head == roster.head:
                continue
            if is_behind(head, roster.head):  # or a change was heard while this was asked for
                self._enter_all(channel)
            elif roster.lists:
                self._begin_read(roster)
            elif roster.counts:
                self._count(roster, RosterChanged(channel, head, (), ()))
