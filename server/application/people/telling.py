"""Telling the members of a channel of changes in its roster."""

import asyncio
from collections.abc import Callable, Iterator

from server.application.people.attendance import Attendance
from server.application.people.roster import HeldRoster
from server.domain.channels import ChannelName
from server.domain.presence import MemberJoined, MemberLeft, MembersCounted, Present, RosterChanged, RosterHead
from server.ports.presence_metrics import PresenceMetrics
from server.ports.transport import Transport

COUNT_S = 1.0
"""Between two counts of a channel. A count is told within this time of the change, so the last is never late."""

TOLD_AT_ONCE = 32
"""Users that are told of, until it is waited for what was told to go out."""


class Telling:
    """Tells changes one user at a time, by name; or counts, at most one a second. `roster` returns a channel's."""

    def __init__(
        self,
        transport: Transport,
        attendance: Attendance,
        roster: Callable[[ChannelName], HeldRoster | None],
        metrics: PresenceMetrics,
    ) -> None:
        self._transport = transport
        self._attendance = attendance
        self._roster = roster
        self._metrics = metrics
        self._uncounted: dict[ChannelName, None] = {}  # channels whose count is to be told

    def count(self, channel: ChannelName) -> None:
        """Tell the channel's count soon."""
        self._uncounted[channel] = None

    async def run(self) -> None:
        """Tell counts until cancelled."""
        while True:
            await asyncio.sleep(COUNT_S)
            self.tell_counts()

    def tell_counts(self) -> None:
        """Tell the counts that have changed."""
        uncounted, self._uncounted = self._uncounted, {}
        for channel in uncounted:
            roster = self._roster(channel)
            if roster is not None and roster.head is not None:
                push = MembersCounted(channel, roster.head, names=not roster.counts)
                self._transport.tell(channel, push, self._attendance.quiet(channel))
                self._metrics.presence_told("count")

    def _tell_left(self, channel: ChannelName, present: Present, head: RosterHead) -> None:
        push = MemberLeft(channel, present.user, present.name, head)
        self._transport.tell(channel, push, self._attendance.quiet(channel))
        self._metrics.presence_told("left")

    def _tell_joined(self, channel: ChannelName, present: Present, head: RosterHead) -> None:
        """Tell all but the session by which the user has entered."""
        attendee = self._attendance.of(channel).get(present.user)
        skip = self._attendance.quiet(channel)
        if attendee is not None and attendee.cause is not None:
            skip = (*skip, attendee.cause)
            attendee.cause = None
        self._transport.tell(channel, MemberJoined(channel, present.user, present.name, head), skip)
        self._metrics.presence_told("joined")

    async def tell(self, roster: HeldRoster, change: RosterChanged, *, catches_up: bool = False) -> None:
        """Take each user of a change into the roster, and tell of it, in turns with other work; stop if the roster is
        read meanwhile, unless this `catches_up` with a read."""
        before = roster.head
        for told, (joins, present, head) in enumerate(steps(change)):
            if told and told % TOLD_AT_ONCE == 0:
                await self._transport.settled()
                if self._roster(roster.channel) is not roster or roster.head is not before:
                    return
                if roster.reading is not catches_up:
                    return  # the read that is due has the rest
            roster.head = before = head
            roster.take(present, joins=joins)
            if joins:
                self._tell_joined(roster.channel, present, head)
                roster.wake(present.user)
            else:
                self._tell_left(roster.channel, present, head)


def steps(change: RosterChanged) -> Iterator[tuple[bool, Present, RosterHead]]:
    """Yield each user of a change, whether it has joined, and the head after that."""
    count = len(change.left) + len(change.joined)
    version = change.head.version - count
    members = change.head.count + len(change.left) - len(change.joined)
    for joins, users in ((False, change.left), (True, change.joined)):
        for present in users:
            version += 1
            members += 1 if joins else -1
            yield joins, present, RosterHead(change.head.epoch, max(0, version), max(0, members))
