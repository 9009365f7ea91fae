"""Signals: what holds for a moment, and stands in no log (PROTOCOL.md, "Typing and reading")."""

from server.domain.channels import ChannelName
from server.domain.identity import UserId
from server.domain.values import value


@value
class TypingChanged:
    """A user types, or has stopped."""

    channel: ChannelName
    user: UserId
    typing: bool


@value
class ReadUpdated:
    """A user has read a channel up to an offset."""

    channel: ChannelName
    user: UserId
    offset: int


@value
class PresenceChanged:
    """The roster of a channel has changed; `version` is dense for a channel and an epoch."""

    channel: ChannelName
    epoch: str
    version: int


Signal = TypingChanged | ReadUpdated | PresenceChanged
"""Closed: match it exhaustively."""
