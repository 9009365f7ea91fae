"""The events of a channel's log."""

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
    """A message has a new text; `message` is the whole new state."""

    channel: ChannelName
    epoch: str
    offset: int
    at: int
    message: Message


@dataclass(frozen=True, slots=True)
class MessageDeleted:
    """A message is gone; its text stands in no later read."""

    channel: ChannelName
    epoch: str
    offset: int
    at: int
    id: MessageId


Event = MessageCreated | MessageEdited | MessageDeleted
"""What a log holds. Closed: match it exhaustively."""


def state_after(last: Event, offset: int) -> Message | Tombstone:
    """Return the state of a message. `last` is the last event that changed it, `offset` that of its creation."""
    if isinstance(last, MessageDeleted):
        return Tombstone(last.id, last.channel, offset)
    return last.message
