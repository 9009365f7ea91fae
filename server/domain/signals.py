"""Signals: what holds for a moment, and stands in no log (PROTOCOL.md, "Typing and reading")."""

from typing import Any

from server.domain.channels import ChannelName
from server.domain.identity import Author, UserId
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
class EventEmitted:
    """An application's event that is in no log. `data` is any JSON value."""

    channel: ChannelName
    name: str
    author: Author
    data: Any


Signal = TypingChanged | ReadUpdated | EventEmitted
"""Closed: match it exhaustively."""
