"""Attendance: the users whose sessions are in channels on this replica, or were a moment ago."""

import heapq
from collections.abc import Callable, Collection, Mapping

from server.domain.channels import ChannelName
from server.domain.identity import SessionId, UserId

_NONE: Mapping[UserId, "Attendee"] = {}
_NOBODY: Collection[SessionId] = frozenset()


class Attendee:
    """A user in a channel."""

    __slots__ = ("cause", "leaves_at", "name", "sessions")

    def __init__(self, name: str | None, cause: SessionId) -> None:
        self.name = name  # of the user's first session here
        self.sessions: tuple[SessionId, ...] = (cause,)
        self.leaves_at: float | None = None  # without a session: when the user is gone, unless it comes back
        self.cause: SessionId | None = cause  # the session that need not be told of its own entering; None: it was told

    @property
    def gone(self) -> bool:
        """Whether the user is to leave the roster."""
        return not self.sessions and self.leaves_at is None


class Attendance:
    """A user attends from its first session's joining until `forget`, which follows when the store knows that it is
    gone. `clock` is monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._channels: dict[ChannelName, dict[UserId, Attendee]] = {}
        self._users: dict[SessionId, UserId] = {}  # of the sessions that attend, or did
        self._seats: dict[SessionId, int] = {}  # in how many channels each session is
        self._quiet: dict[ChannelName, set[SessionId]] = {}  # sessions that are given no presence events
        self._sessions: dict[ChannelName, int] = {}  # how many sessions there are in each channel
        # When lingering users leave. A user that comes back and goes again has a further entry.
        self._lingers: list[tuple[float, ChannelName, UserId]] = []

    def channels(self) -> Collection[ChannelName]:
        """Return the channels in which somebody attends."""
        return tuple(self._channels)

    def of(self, channel: ChannelName) -> Mapping[UserId, Attendee]:
        """Return the attendees of a channel."""
        return self._channels.get(channel, _NONE)

    def quiet(self, channel: ChannelName) -> Collection[SessionId]:
        """Return the sessions in the channel that are given no presence events."""
        return self._quiet.get(channel, _NOBODY)

    def has_sessions(self, channel: ChannelName) -> bool:
        """Whether a session is in the channel."""
        return channel in self._sessions

    def enter(self, session: SessionId, user: UserId, name: str | None, channel: ChannelName) -> bool:
        """Add a session; return whether its user was not there before. Entering again changes nothing."""
        self._users[session] = user
        attendees = self._channels.setdefault(channel, {})
        attendee = attendees.get(user)
        if attendee is not None and session in attendee.sessions:
            return False
        self._sessions[channel] = self._sessions.get(channel, 0) + 1
        self._seats[session] = self._seats.get(session, 0) + 1
        if attendee is None:
            attendees[user] = Attendee(name, session)
            return True
        was_gone, attendee.leaves_at = attendee.gone, None
        attendee.sessions += (session,)
        if was_gone:
            attendee.cause = session
        return was_gone

    def hush(self, session: SessionId, channel: ChannelName, quiet: bool) -> None:
        """Say whether a session is given no presence events in a channel."""
        if quiet:
            self._quiet.setdefault(channel, set()).add(session)
        elif channel in self._quiet:
            self._quiet[channel].discard(session)
            if not self._quiet[channel]:
                del self._quiet[channel]

    def leave(self, session: SessionId, channel: ChannelName, linger_s: float) -> UserId | None:
        """Take a session out; return its user if that is gone by this. `due` returns those that linger first."""
        user = self._users.get(session)
        attendee = None if user is None else self.of(channel).get(user)
        if user is None or attendee is None or session not in attendee.sessions:
            return None
        self.hush(session, channel, quiet=False)
        self._seats[session] -= 1
        self._sessions[channel] -= 1
        if not self._sessions[channel]:
            del self._sessions[channel]
        attendee.sessions = tuple(other for other in attendee.sessions if other != session)
        if attendee.sessions:
            return None
        if not linger_s:
            return user
        attendee.leaves_at = self._clock() + linger_s
        heapq.heappush(self._lingers, (attendee.leaves_at, channel, user))
        return None

    def strays(self, session: SessionId) -> Collection[ChannelName]:
        """Return the channels that a session is still in."""
        if not self._seats.get(session):
            return ()
        user = self._users[session]
        found = ((channel, attendees.get(user)) for channel, attendees in self._channels.items())
        return [channel for channel, attendee in found if attendee is not None and session in attendee.sessions]

    def end(self, session: SessionId) -> None:
        """Forget a session that has left all channels."""
        self._users.pop(session, None)
        self._seats.pop(session, None)

    def shown(self, session: SessionId, user: UserId, channel: ChannelName) -> None:
        """A session has been shown that its user is there: from now on it is told if the user enters."""
        attendee = self.of(channel).get(user)
        if attendee is not None and attendee.cause == session:
            attendee.cause = None

    def due(self) -> list[tuple[ChannelName, UserId]]:
        """Return the users that have lingered long enough, and are gone by now."""
        now, gone = self._clock(), []
        while self._lingers and self._lingers[0][0] <= now:
            _, channel, user = heapq.heappop(self._lingers)
            attendee = self.of(channel).get(user)
            if attendee is not None and attendee.leaves_at is not None and attendee.leaves_at <= now:
                attendee.leaves_at = None
                gone.append((channel, user))
        return gone

    def forget(self, channel: ChannelName, user: UserId) -> None:
        """Forget a user that is gone; not one that has come back."""
        attendees = self._channels.get(channel, {})
        attendee = attendees.get(user)
        if attendee is not None and attendee.gone:
            del attendees[user]
            if not attendees:
                del self._channels[channel]
