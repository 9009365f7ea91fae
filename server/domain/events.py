"""The events of a channel's log."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import field
from typing import Any

from server.domain.channels import ChannelName
from server.domain.identity import Author
from server.domain.messages import Message, MessageId, Tombstone, author_digest
from server.domain.reactions import Reactions
from server.domain.values import value


@value
class MessageCreated:
    """A message entered the log; `message.offset == offset`."""

    channel: ChannelName
    epoch: str
    offset: int
    at: int
    message: Message


@value
class MessageEdited:
    """A message got a new text; `message` is the whole new state."""

    channel: ChannelName
    epoch: str
    offset: int
    at: int
    message: Message


@value
class MessageDeleted:
    """A message was deleted; no later read has its text. `by` is the moderator who deleted it; None if the author
    did."""

    channel: ChannelName
    epoch: str
    offset: int
    at: int
    id: MessageId
    by: Author | None = None


@value
class MessageErased:
    """The place of a creation, or of an edit, of a message that was deleted later: its text and data are gone.

    It has the offset, the epoch and the time of the event that stood there. `created_offset` is the offset of the
    message's creation.
    """

    channel: ChannelName
    epoch: str
    offset: int
    at: int
    id: MessageId
    created_offset: int
    edited: bool
    author: str | None = field(default=None, compare=False)
    """The `author_digest` of who wrote the message. It is no part of the event: clients are not told."""


@value
class ReactionChanged:
    """The reactions to a message have changed; `reactions` is their whole state. Not every change is an event
    (`reactions.is_told`)."""

    channel: ChannelName
    epoch: str
    offset: int
    at: int
    id: MessageId
    reactions: Reactions


@value
class EventPublished:
    """An application has published an event. It is no message: it is not edited, not counted as unread, and stands in
    no page of history. `data` is any JSON value."""

    channel: ChannelName
    epoch: str
    offset: int
    at: int
    name: str
    author: Author
    data: Any
    key: str | None


@value
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


MessageChange = MessageCreated | MessageEdited | MessageDeleted
"""The changes of a message's content: the last of a message is its state, beside its reactions. Closed: match it
exhaustively."""

MessageEvent = MessageChange | MessageErased
"""What a draft of a message becomes, and what is left of it. Closed: match it exhaustively."""

LogEvent = MessageEvent | ReactionChanged | EventPublished
"""The events that clients are given. Closed: match it exhaustively."""

Event = LogEvent | UnknownEvent
"""An entry of a log. Closed: match it exhaustively."""


def log_events(events: Iterable[Event]) -> tuple[LogEvent, ...]:
    """Return the events that clients are given: all except those of an unknown kind."""
    return tuple([event for event in events if not isinstance(event, UnknownEvent)])


def state_after(last: MessageChange, offset: int, creation: Event | None = None) -> Message | Tombstone:
    """Return the state of a message. `last` is the last event that changed it, `offset` that of its creation; of
    `creation`, once it is erased, a tombstone has its author."""
    if isinstance(last, MessageDeleted):
        author = creation.author if isinstance(creation, MessageErased) else None
        return Tombstone(last.id, last.channel, offset, last.by, author)
    return last.message


def erased(event: MessageCreated | MessageEdited) -> MessageErased:
    """Return the event as it is read once its message has been deleted."""
    return MessageErased(
        channel=event.channel,
        epoch=event.epoch,
        offset=event.offset,
        at=event.at,
        id=event.message.id,
        created_offset=event.message.offset,
        edited=isinstance(event, MessageEdited),
        author=author_digest(event.message.id, event.message.author.id),
    )


def without_deleted(events: Sequence[Event]) -> Sequence[Event]:
    """Erase the events of messages whose deletion is in the sequence, too.

    Events that come from two sources may hold a message's text from the one and its deletion from the other.
    """
    if len(events) == 1:
        return events
    deleted = {event.id for event in events if isinstance(event, MessageDeleted)}
    if not deleted:
        return events
    return tuple([_without(event, deleted) for event in events])


def _without(event: Event, deleted: Collection[MessageId]) -> Event:
    if isinstance(event, MessageCreated | MessageEdited) and event.message.id in deleted:
        return erased(event)
    return event
