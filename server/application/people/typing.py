"""Typing: the users that write in a channel at the moment (PROTOCOL.md, "Typing"). Nothing of it is stored."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from itertools import islice
from math import inf

from server.application.people.attending import Attending
from server.application.people.company import Company
from server.domain.channels import ChannelName
from server.domain.events import Event, MessageCreated
from server.domain.identity import Action, Identity, SessionId, UserId
from server.domain.limits import TYPING_EXPIRES_MS, TYPING_MS
from server.domain.presence import Departure
from server.domain.rules import Rules
from server.domain.signals import TypingChanged
from server.ports.signals import Signals
from server.ports.transport import Transport

MAX_TYPISTS = 5
"""Users of a channel that are told to type at the same time: nobody reads more names."""

CROSSED_S = 1.5
"""A beginning that is heard so soon after the one before it, although an end came between them, has crossed that end on
its way."""

MAX_REMEMBERED = 64
"""Users of a channel whose last typing is remembered, so that it is not told too often."""

SWEEP_CHANNELS = 1_000
"""Channels that a step of the sweep looks at."""


@dataclass(slots=True)
class _Typist:
    """A user that types in a channel, or has just stopped."""

    told_at: float  # when others were last told that the user begins
    typing: bool = True  # whether the others have not been told of an end
    session: SessionId | None = None  # the session here that types; None if it is on another replica


class Typing(Attending):
    """Passes typing on, at a pace. `clock` is monotonic, in seconds.

    Each replica knows the typists of its channels from the signals, so it can end the typing of a user by itself when
    their message is delivered.
    """

    def __init__(
        self, signals: Signals, transport: Transport, company: Company, rules: Rules, clock: Callable[[], float]
    ) -> None:
        self._signals = signals
        self._transport = transport
        self._company = company
        self._rules = rules
        self._clock = clock
        self._typists: dict[ChannelName, dict[UserId, _Typist]] = {}  # none is empty

    def check(self, session: SessionId, identity: Identity, channel: ChannelName) -> None:
        """Raise `NotJoined` or `PermissionDenied` unless the session may tell the channel that its user types."""
        self._company.check_joined(session, channel)
        self._company.denials.authorize(identity, Action.SEND, channel)

    def start(self, session: SessionId, identity: Identity, channel: ChannelName) -> bool:
        """Tell the channel that the user types; return False if it is not told (now)."""
        user, now = identity.user, self._clock()
        typist = self._typists.get(channel, {}).get(user)
        if typist is not None and now - typist.told_at < TYPING_MS / 1_000:
            typist.session = session if typist.typing else None
            return False
        if not self._is_shown(channel) or not self._has_room(channel, user, now):
            return False
        self._typists.setdefault(channel, {})[user] = _Typist(now, session=session)
        self._signals.publish(TypingChanged(channel, user, typing=True))
        return True

    def stop(self, session: SessionId, identity: Identity, channel: ChannelName) -> bool:
        """Tell the channel that the user types no longer; return False if it was not told that they do."""
        return self._end(channel, identity.user)

    def left(self, session: SessionId, channel: ChannelName) -> None:
        """End the typing of a session that is no longer in the channel."""
        for user, typist in self._typists.get(channel, {}).items():
            if typist.session == session:
                self._end(channel, user)

    def entered(self, session: SessionId, identity: Identity, channel: ChannelName, told: bool | None) -> None:
        """Nothing follows."""

    def ended(self, session: SessionId, channels: Collection[ChannelName], departure: Departure) -> None:
        """End the typing of a session that is over."""
        for channel in channels:
            self.left(session, channel)

    def heard(self, signal: TypingChanged) -> None:
        """Take a signal, of this replica or another, and tell the members here."""
        channel, user, now = signal.channel, signal.user, self._clock()
        if self._company.is_empty(channel):
            return
        typist = self._typists.get(channel, {}).get(user)
        since_told_s = inf if typist is None else now - typist.told_at
        if not signal.typing:
            if typist is None:
                return
            typist.typing = False
        elif since_told_s >= TYPING_MS / 1_000:
            if not self._has_room(channel, user, now):
                return
            self._typists.setdefault(channel, {})[user] = _Typist(now)
        elif typist is not None and not typist.typing and since_told_s < CROSSED_S:
            return
        self._tell(signal)

    def delivered(self, event: Event) -> None:
        """End the typing of the author of a message that has just been delivered. Every replica does so by itself."""
        if self._typists and isinstance(event, MessageCreated):
            user = event.message.author.id
            typist = self._typists.get(event.channel, {}).get(user)
            if typist is not None and typist.typing:
                typist.typing, typist.session = False, None
                self._tell(TypingChanged(event.channel, user, typing=False))

    def sweep(self) -> None:
        """Forget, in some of the channels, the users whose typing is over at the receivers."""
        now = self._clock()
        for channel in list(islice(self._typists, SWEEP_CHANNELS)):
            typists = self._typists.pop(channel)
            if recent := {user: typist for user, typist in typists.items() if _is_recent(typist, now)}:
                self._typists[channel] = recent

    def _is_shown(self, channel: ChannelName) -> bool:
        return self._company.count(channel) <= self._rules.of(channel).typing

    def _has_room(self, channel: ChannelName, user: UserId, now: float) -> bool:
        """Say whether few enough others type, or have just stopped."""
        others = [
            each for other, each in self._typists.get(channel, {}).items() if other != user and _is_recent(each, now)
        ]
        return len(others) < MAX_REMEMBERED and sum(each.typing for each in others) < MAX_TYPISTS

    def _end(self, channel: ChannelName, user: UserId) -> bool:
        typist = self._typists.get(channel, {}).get(user)
        if typist is None or not typist.typing or not _is_recent(typist, self._clock()):
            return False
        typist.typing, typist.session = False, None
        self._signals.publish(TypingChanged(channel, user, typing=False))
        return True

    def _tell(self, told: TypingChanged) -> None:
        if self._is_shown(told.channel):
            self._transport.tell(told.channel, told, skip=self._company.devices(told.user, told.channel))


def _is_recent(typist: _Typist, now: float) -> bool:
    return now - typist.told_at < TYPING_EXPIRES_MS / 1_000
