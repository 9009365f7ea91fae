"""A channel's roster, as this replica knows it."""

import asyncio
from collections import deque

from server.domain.channels import ChannelName
from server.domain.identity import UserId
from server.domain.presence import NOBODY, Present, Roster, RosterChanged, RosterHead

HELD_LIMIT = 1_000
"""Changes that are held while a roster is read. Over it, it is read again."""


class HeldRoster:
    """State alone: `Rosters` changes it, and `Telling` tells of it.

    `members` is None until somebody has asked for them, and while the channel tells counts.
    """

    __slots__ = (
        "askers",
        "channel",
        "counting",
        "counts",
        "counts_only",
        "head",
        "held",
        "members",
        "overrun",
        "reading",
        "shown",
    )

    def __init__(self, channel: ChannelName, *, counts_only: bool) -> None:
        self.channel = channel
        self.counts_only = counts_only  # by rule
        self.counts = counts_only  # whether counts are told in place of names
        self.head: RosterHead | None = None  # of the last change that was told, or of the last read
        self.members: dict[UserId, Present] | None = None  # those that are there longest first
        self.reading = False  # whether the store is to be read; changes are held until then
        self.held: deque[RosterChanged] = deque()
        self.overrun = False  # whether more changes came than are held
        self.counting = asyncio.Lock()  # of such an answer that is under way
        self.shown: tuple[float, Roster] | None = None  # the last answer with a count, and its time
        self.askers: dict[UserId, list[asyncio.Future[None]]] = {}  # that wait until they are in the roster

    @property
    def lists(self) -> bool:
        """Whether the members are known."""
        return self.members is not None and not self.reading

    def shows(self, user: UserId) -> Roster | None:
        """Return all members if they are known, and the user is one."""
        if self.members is None or self.head is None or self.reading or user not in self.members:
            return None
        return Roster(self.head, tuple(self.members.values()), complete=True)

    def take(self, present: Present, *, joins: bool) -> None:
        """Add a member, or remove it, if the members are known."""
        if self.members is None:
            return
        if joins:
            self.members[present.user] = present
        else:
            self.members.pop(present.user, None)

    def hold(self, change: RosterChanged) -> None:
        """Keep a change until the store has been read."""
        if len(self.held) < HELD_LIMIT:
            self.held.append(change)
        else:
            self.overrun = True

    def count_only(self) -> None:
        """Tell counts from here on."""
        self.counts, self.members = True, None
        self.wake_all()

    async def joined(self, user: UserId) -> None:
        """Wait until the roster has changed in a way that matters to the user."""
        waiting = self.askers.setdefault(user, [])
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting.append(future)
        try:
            await future
        finally:
            waiting.remove(future)
            if not waiting:
                del self.askers[user]

    def wake(self, user: UserId) -> None:
        """Let those look again that wait for a user."""
        for future in self.askers.get(user, ()):
            if not future.done():
                future.set_result(None)

    def wake_all(self) -> None:
        """Let everybody look again that waits."""
        for user in tuple(self.askers):
            self.wake(user)


def follows(change: RosterChanged, head: RosterHead | None) -> bool:
    """Say whether a change comes right behind a head. The first of an epoch does so behind a roster of nobody."""
    before = change.head.version - len(change.left) - len(change.joined)
    return head is not None and before == head.version and (change.head.epoch == head.epoch or head == NOBODY)


def is_old(change: RosterChanged, head: RosterHead | None) -> bool:
    """Say whether a head has the change already."""
    return head is not None and change.head.epoch == head.epoch and change.head.version <= head.version


def is_behind(found: RosterHead, head: RosterHead | None) -> bool:
    """Say whether a store has gone back in time, behind a head that it had."""
    return head is not None and found.epoch == head.epoch and found.version < head.version


def difference(roster: HeldRoster, found: Roster) -> RosterChanged:
    """Return what has changed since the roster was known: less than has happened, perhaps."""
    members, now = roster.members or {}, {present.user for present in found.members}
    left = tuple(present for user, present in members.items() if user not in now)
    joined = tuple(present for present in found.members if present.user not in members)
    return RosterChanged(roster.channel, found.head, left, joined)
