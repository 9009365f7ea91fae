"""Reading: users mark how far they have read (PROTOCOL.md, "Reading")."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence

from server.application.deadline import deadline
from server.application.people.attending import Attending
from server.application.people.company import Company
from server.application.people.unread import Unread
from server.application.sessions.session import Session
from server.domain.channels import ChannelName
from server.domain.errors import MaruError
from server.domain.identity import Identity, SessionId, UserId
from server.domain.marks import MAX_RECEIPTS, Mark, Receipt
from server.domain.presence import Departure
from server.domain.rates import Bucket
from server.domain.rules import Rules
from server.domain.signals import ReadUpdated
from server.ports.marks import Marks
from server.ports.signals import Signals

MAX_KEPT = 10_000
"""Sessions whose marks wait for their rate. Of further sessions such marks are dropped."""

MAX_ORIGINS = 1_000
"""Marks of which it is remembered which session made them, until the signal of them is heard here."""

Key = tuple[ChannelName, UserId, int]


class Reading(Attending):
    """Moves marks, at a rate: over it the last mark of each channel waits. `tasks` owns the marks that come later;
    `clock` is monotonic, in seconds."""

    def __init__(  # all that a mark depends on
        self,
        marks: Marks,
        unread: Unread,
        signals: Signals,
        company: Company,
        rules: Rules,
        tasks: asyncio.TaskGroup,
        clock: Callable[[], float],
    ) -> None:
        self._marks = marks
        self._unread = unread
        self._signals = signals
        self._company = company
        self._rules = rules
        self._tasks = tasks
        self._clock = clock
        self._kept: dict[SessionId, _Kept] = {}  # marks that wait for their rate
        self._origins: OrderedDict[Key, SessionId] = OrderedDict()

    async def mark(self, session: Session, channel: ChannelName, offset: int) -> tuple[Mark, bool]:
        """Move the user's mark, if that is further, and return it. The second value is False if the mark is to be moved
        later: then it is returned as it is. Raises `NotJoined`, `Unavailable`."""
        self._company.check_joined(session.id, channel)
        wait = 0.0
        if session.allowance is not None:
            wait = session.allowance.take_quietly(Bucket.MARK, self._clock())
        async with deadline():
            if wait:
                self._keep(session, channel, offset, wait)
                return await self._unread.mark(session.identity.user, channel), False
            kept = self._kept.get(session.id)
            if kept is not None and kept.offsets.get(channel, -1) <= offset:
                kept.offsets.pop(channel, None)
            return await self._move(session, channel, offset), True

    async def receipts(self, session: Session, channel: ChannelName) -> Sequence[Receipt]:
        """Return how far the members have read; where that is not shown, the user's own mark alone. Raises `NotJoined`,
        `Unavailable`."""
        self._company.check_joined(session.id, channel)
        async with deadline():
            if self._company.count(channel) <= self._rules.of(channel).receipts:
                return await self._marks.receipts(channel, MAX_RECEIPTS)
            user = session.identity.user
            mark = await self._unread.mark(user, channel)
            return [Receipt(user, mark.offset)] if mark.offset else []

    def origin(self, marked: ReadUpdated) -> SessionId | None:
        """Return, once, the session that has made a mark here; None if it was made elsewhere."""
        return self._origins.pop((marked.channel, marked.user, marked.offset), None)

    def entered(self, session: SessionId, identity: Identity, channel: ChannelName, told: bool | None) -> None:
        """Nothing follows."""

    def left(self, session: SessionId, channel: ChannelName) -> None:
        """Nothing follows: the user has read so far all the same."""

    def ended(self, session: SessionId, channels: Collection[ChannelName], departure: Departure) -> None:
        """Make the marks now that wait for the session's rate."""
        kept = self._kept.pop(session, None)
        if kept is not None:
            kept.timer.cancel()
            for channel, offset in kept.offsets.items():
                self._tasks.create_task(self._move_late(kept.session, channel, offset))

    def _keep(self, session: Session, channel: ChannelName, offset: int, wait: float) -> None:
        kept = self._kept.get(session.id)
        if kept is None:
            if len(self._kept) >= MAX_KEPT:
                return
            kept = self._kept[session.id] = _Kept(session, self._later(session.id, wait))
        kept.offsets[channel] = max(offset, kept.offsets.get(channel, 0))

    def _later(self, session: SessionId, wait: float) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(wait, self._make_kept, session)

    def _make_kept(self, session: SessionId) -> None:
        """Make as many of the session's marks as its rate allows."""
        kept = self._kept[session]
        allowance = kept.session.allowance
        while kept.offsets:
            wait = 0.0 if allowance is None else allowance.take_quietly(Bucket.MARK, self._clock())
            if wait:
                kept.timer = self._later(session, wait)
                return
            channel = next(iter(kept.offsets))
            self._tasks.create_task(self._move_late(kept.session, channel, kept.offsets.pop(channel)))
        del self._kept[session]

    async def _move_late(self, session: Session, channel: ChannelName, offset: int) -> None:
        try:
            async with deadline():
                await self._move(session, channel, offset)
        except MaruError:
            return  # its client's next mark is further

    async def _move(self, session: Session, channel: ChannelName, offset: int) -> Mark:
        user = session.identity.user
        marked = await self._marks.mark(channel, user, offset)
        if marked.moved:
            self._origins[channel, user, marked.mark.offset] = session.id
            if len(self._origins) > MAX_ORIGINS:
                self._origins.popitem(last=False)
            self._signals.publish(ReadUpdated(channel, user, marked.mark.offset))
        return marked.mark


class _Kept:
    """The marks of a session that wait for its rate."""

    __slots__ = ("offsets", "session", "timer")

    def __init__(self, session: Session, timer: asyncio.TimerHandle) -> None:
        self.session = session
        self.timer = timer  # when the rate allows the next
        self.offsets: dict[ChannelName, int] = {}  # the furthest of each channel
