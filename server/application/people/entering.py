"""Entering users into rosters, and taking them out: behind the joins, which wait for no store."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Collection
from itertools import islice

from server.application.people.attendance import Attendance
from server.application.people.crew import Crew
from server.domain.channels import ChannelName
from server.domain.errors import MaruError
from server.domain.identity import UserId
from server.domain.presence import NOBODY, RosterHead
from server.ports.presence import ENTRIES_AT_ONCE, Presence

ENTRIES_PER_S = 20_000
"""Entries that a replica gives its store in a second: a herd that moves costs Redis a fifth of its time, at most."""

BURST_S = 0.1
"""Entries of so many seconds may go at once."""

WAITING_LIMIT = 300_000
"""Users that wait, at most: 15 s of work. Over it, the channel that has waited longest is entered as a whole."""

CALLS = 32
"""Calls of the store under way. Each is for another channel."""

RETRY_S = 0.5
"""Pause after a call that failed."""


class Entering:
    """Brings the store in line with the attendance: users that attend are entered, those that are gone are not, as it
    is when their turn comes. `clock` is monotonic, in seconds; `crowded` is called with a channel that is entered as a
    whole for want of room."""

    def __init__(
        self,
        store: Presence,
        attendance: Attendance,
        clock: Callable[[], float],
        crowded: Callable[[ChannelName], None],
        limit: int = WAITING_LIMIT,
    ) -> None:
        self._store = store
        self._attendance = attendance
        self._clock = clock
        self._crowded = crowded
        self._limit = limit
        # Users that wait. The channel that has waited longest is the first, which a plain dict would look for.
        self._users: OrderedDict[ChannelName, dict[UserId, None]] = OrderedDict()
        self._whole: set[ChannelName] = set()  # channels of which all users wait
        self._count = 0  # users in `_users`
        self._free_at = 0.0  # when the pace allows a further call, on the clock
        self.seen: Callable[[ChannelName], RosterHead] = lambda _: NOBODY  # the head that is known of a roster
        self._crew = Crew(self._work, CALLS)

    @property
    def waiting(self) -> int:
        """How many users wait to be entered or taken out."""
        return self._count + sum(len(self._attendance.of(channel)) for channel in tuple(self._whole))

    def waits(self, channel: ChannelName, user: UserId) -> bool:
        """Say whether a user waits."""
        return channel in self._whole or user in self._users.get(channel, ())

    def add(self, channel: ChannelName, user: UserId) -> None:
        """Bring the roster in line with a user's attendance, soon."""
        if self.waits(channel, user):
            return
        if self._count >= self._limit:
            self._make_room()
        self._users.setdefault(channel, {})[user] = None
        self._count += 1
        self._crew.put(channel)

    def add_all(self) -> None:
        """Enter everybody again: the store may have lost them."""
        for channel in self._attendance.channels():
            self._add_whole(channel)

    async def run(self) -> None:
        """Work until cancelled."""
        await self._crew.run()

    def _add_whole(self, channel: ChannelName) -> None:
        self._count -= len(self._users.pop(channel, ()))
        self._whole.add(channel)
        self._crew.put(channel)

    def _make_room(self) -> None:
        channel = next(iter(self._users))
        self._add_whole(channel)
        self._crowded(channel)

    def _take(self, channel: ChannelName) -> Collection[UserId]:
        """Take the users whose turn it is, at most as many as a call may have."""
        if channel in self._whole:
            self._whole.discard(channel)
            self._users[channel] = dict.fromkeys(self._attendance.of(channel))
            self._count += len(self._users[channel])
        waiting = self._users.pop(channel, {})
        taken = tuple(islice(waiting, ENTRIES_AT_ONCE))
        for user in taken:
            del waiting[user]
        if waiting:
            self._users[channel] = waiting
            self._crew.put(channel)
        self._count -= len(taken)
        return taken

    async def _work(self, channel: ChannelName) -> None:
        users = self._take(channel)
        try:
            await self._keep_pace(len(users))
            await self._bring_in_line(channel, users)
        except MaruError:
            for user in users:
                self.add(channel, user)
            await asyncio.sleep(RETRY_S)

    async def _keep_pace(self, count: int) -> None:
        now = self._clock()
        begins = max(self._free_at, now - BURST_S)
        self._free_at = begins + count / ENTRIES_PER_S
        if self._free_at > now:
            await asyncio.sleep(self._free_at - now)

    async def _bring_in_line(self, channel: ChannelName, users: Collection[UserId]) -> None:
        attendees = self._attendance.of(channel)
        found = {user: attendees[user] for user in users if user in attendees}
        here = {user: attendee.name for user, attendee in found.items() if not attendee.gone}
        if gone := [user for user in found if user not in here]:
            await self._store.leave(channel, gone)
            for user in gone:
                self._attendance.forget(channel, user)
        if here:
            await self._store.enter(channel, here, self.seen(channel))
