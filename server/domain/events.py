"""The events of a channel's log."""

from collections.abc import Iterable
from dataclasses import dataclass

from server.domain.channels import ChannelName
from server.domain.messages import Message, MessageId, Tombstone


@dataclass(frozen=True, slots=True)
class MessageCreated:
    """A message entered the log; `message.offset == offset`."""

    channel: ChannelName
    epoch: str
    offset: int
    at: int
    message: Message


@dataclass(frozen=True, slots=True)
class MessageEdited:
    """A message got a new text; `message` is the whole new state."""

    channel: ChannelName
    epoch: str
    offset: int
    at: int
    message: Message


@dataclass(frozen=True, slots=True)
class MessageDeleted:
    """A message was deleted; no later read of messages has its text."""

    channel: ChannelName
    epoch: str
    offset: int
    at: int
    id: MessageId


@dataclass(frozen=True, slots=True)
class UnknownEvent:
    """An entry of a kind that this version does not know: a newer version, which shares the log, has written it.

    It takes its offset, so it moves every position past itself. It is given to nobody, and it never is the state of a
    message.
    """

    channel: ChannelName
    epoch: str
    offset: int
    at: int
    kind: str


MessageEvent = MessageCreated | MessageEdited | MessageDeleted
"""The events that this version writes and gives to clients. Closed: match it exhaustively."""

Event = MessageEvent | UnknownEvent
"""An entry of a log. Closed: match it exhaustively."""


def message_events(events: Iterable[Event]) -> tuple[MessageEvent, ...]:
    """Return the events that clients are given: all except those of an unknown kind."""
    return tuple([event for event in events if not isinstance(event, UnknownEvent)])


def state_after(last: MessageEvent, offset: int) -> Message | Tombstone:
    """Return the state of a message. `last` is the last event that changed it, `offset` that of its creation."""
    if isinstance(last, MessageDeleted):
        return Tombstone(last.id, last.channel, offset)
    return last.message
