"""Pushes: what the server tells a session, or a whole channel, beside the events of the log."""

from collections.abc import Sequence
from dataclasses import dataclass

from server.domain.channels import ChannelName
from server.domain.errors import MaruError
from server.domain.identity import SessionId, UserId
from server.domain.marks import InboxPage, Mark
from server.domain.messages import Position
from server.domain.presence import MemberJoined, MemberLeft, MembersCounted
from server.domain.recovery import NotResumable
from server.domain.rings import EncodedEvent
from server.domain.signals import EventEmitted, ReadUpdated, TypingChanged


@dataclass(frozen=True, slots=True)
class ChannelResumed:
    """A session is in the channel (again) at `position`. `reason` None: recovered, `events` are all that it missed."""

    channel: ChannelName
    position: Position
    reason: NotResumable | None
    events: Sequence[EncodedEvent]
    mark: Mark | None = None
    """How far the user has read, with the counts as of `position`; None if nothing is counted."""


@dataclass(frozen=True, slots=True)
class ChannelRemoved:
    """A session may not be (any longer) in the channel."""

    channel: ChannelName
    error: type[MaruError]


@dataclass(frozen=True, slots=True)
class SessionReady:
    """A session is admitted and its channels are resumed. `expires_at` in milliseconds since the epoch."""

    session: SessionId
    user: UserId
    expires_at: int


@dataclass(frozen=True, slots=True)
class SessionExpiring:
    """The session ends soon: its token expires then, or `reason` says why else. `expires_at` in milliseconds since the
    epoch."""

    expires_at: int
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class SessionDraining:
    """The session's connection will be closed within `deadline_ms`, since the server stops: its client is to connect
    again in `reconnect_in_ms`, which differs from client to client. Both in milliseconds from now."""

    reconnect_in_ms: int
    deadline_ms: int


@dataclass(frozen=True, slots=True)
class InboxState:
    """The first page of a user's inbox, which the client has asked for in its CONNECT."""

    page: InboxPage


Push = InboxState | ReadUpdated | ChannelResumed | ChannelRemoved | SessionReady | SessionExpiring | SessionDraining
"""Pushes to a session. Closed: match it exhaustively."""


@dataclass(frozen=True, slots=True)
class Emitted:
    """An event that another process emitted into a channel: `name` and its `arguments`. It is in no log."""

    name: str
    arguments: Sequence[object]


ChannelPush = Emitted | TypingChanged | ReadUpdated | EventEmitted | MemberJoined | MemberLeft | MembersCounted
"""What is said to everybody in a channel beside the events of its log: ephemeral, so a slow reader goes without.
Closed: match it exhaustively."""
