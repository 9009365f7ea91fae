"""Presence: the users of this replica's sessions are in the rosters of their channels, and see the others there.

Joins, leaves and sends wait for nothing of this. docs/design/presence.md explains the parts.
"""

import asyncio
from collections.abc import Callable, Collection, Coroutine
from typing import Any

from server.application.deadline import deadline
from server.application.people.attendance import Attendance
from server.application.people.attending import Attending
from server.application.people.entering import WAITING_LIMIT, Entering
from server.application.people.presence_lease import PresenceLease
from server.application.people.rosters import Rosters
from server.domain.channels import ChannelName
from server.domain.errors import NotJoined, PermissionDenied
from server.domain.identity import Identity, SessionId
from server.domain.presence import LINGER_S, Departure, Roster, RosterChanged
from server.domain.rules import PresenceDetail, Rules
from server.ports.membership import Membership
from server.ports.presence import Presence
from server.ports.presence_metrics import UNCOUNTED, PresenceMetrics
from server.ports.transport import Transport

SWEEP_S = 0.25
"""How often users are looked for that have lingered long enough."""


class Presences(Attending):
    """The use cases of presence. `clock` is monotonic, in seconds; `linked` says whether the other replicas can be
    reached; at most `limit` users wait to be entered."""

    def __init__(  # noqa: PLR0913  # all that presence depends on
        self,
        store: Presence,
        transport: Transport,
        membership: Membership,
        rules: Rules,
        clock: Callable[[], float],
        linked: Callable[[], bool],
        metrics: PresenceMetrics = UNCOUNTED,
        *,
        limit: int = WAITING_LIMIT,
    ) -> None:
        self._store = store
        self._membership = membership
        self._rules = rules
        self._linked = linked
        self.attendance = Attendance(clock)
        self.entering = Entering(store, self.attendance, clock, self._crowded, limit)
        self.rosters = Rosters(store, self.attendance, transport, clock, self.entering.add, lambda: self._away, metrics)
        self.entering.seen = self.rosters.head
        self.lease = PresenceLease(store, self._enter_again)
        self._hushed: dict[SessionId, Collection[ChannelName]] = {}  # what sessions have said in their CONNECT

    def loops(self) -> tuple[Coroutine[Any, Any, None], ...]:
        """The tasks that run until the end of the process."""
        return (
            self.lease.run(),
            self.entering.run(),
            self.rosters.run(),
            self.rosters.compare(),
            self.rosters.telling.run(),
            self._hear(),
            self._sweep(),
            self._store.run(),
        )

    # Sessions

    def hush(self, session: SessionId, channels: Collection[ChannelName]) -> None:
        """Give a new session no presence events of these channels, when it resumes them."""
        if channels:
            self._hushed[session] = channels

    def entered(self, session: SessionId, identity: Identity, channel: ChannelName, told: bool | None) -> None:
        """Enter the user, unless the channel has no roster by its rule."""
        detail = self._rules.of(channel).presence
        if detail is PresenceDetail.OFF:
            return
        self.rosters.open(channel, counts_only=detail is PresenceDetail.COUNTS)
        if self.attendance.enter(session, identity.user, identity.name, channel):
            self.entering.add(channel, identity.user)
        quiet = channel in self._hushed.get(session, ()) if told is None else not told
        self.attendance.hush(session, channel, quiet)

    def left(self, session: SessionId, channel: ChannelName) -> None:
        """Take the user out, if this was its last session."""
        self._leave(session, channel, LINGER_S[Departure.LEFT])

    def ended(self, session: SessionId, channels: Collection[ChannelName], departure: Departure) -> None:
        """Take the user out after a while, where this was its last session."""
        for channel in channels:
            self._leave(session, channel, LINGER_S[departure])
        for channel in self.attendance.strays(
            session
        ):  # that it was taken out of, and did not come back (returning.py)
            self._leave(session, channel, LINGER_S[departure])
        self.attendance.end(session)
        self._hushed.pop(session, None)

    def _leave(self, session: SessionId, channel: ChannelName, linger_s: float) -> None:
        user = self.attendance.leave(session, channel, linger_s)
        if not self.attendance.has_sessions(channel):
            self.rosters.close(channel)
        if user is not None:
            self.entering.add(channel, user)

    # Reading

    async def read(self, session: SessionId, identity: Identity, channel: ChannelName) -> Roster:
        """Return the members of a channel that the session has joined. Nothing may be awaited until they are answered:
        changes that are told later have higher versions. Raises `PermissionDenied`, `NotJoined`, `Unavailable`."""
        if channel not in self._membership.channels(session):
            raise NotJoined("join the channel first")
        if self._rules.of(channel).presence is PresenceDetail.OFF:
            raise PermissionDenied("presence is off in this channel")
        async with deadline():
            roster = await self.rosters.shown(channel, identity.user)
        self.attendance.shown(session, identity.user, channel)
        return roster

    # What goes on

    @property
    def _away(self) -> bool:
        return self.lease.away or not self._linked()

    def _crowded(self, channel: ChannelName) -> None:
        self.rosters.count_only(channel)

    def _enter_again(self) -> None:
        """Enter everybody and read all rosters again: changes, or the entries of this replica, may be lost."""
        self.entering.add_all()
        self.rosters.doubt_all()

    async def _hear(self) -> None:
        async for heard in self._store.listen():
            if isinstance(heard, RosterChanged):
                await self.rosters.heard(heard)
            else:
                self._enter_again()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            for channel, user in self.attendance.due():
                self.entering.add(channel, user)
