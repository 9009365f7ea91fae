"""Messages and the events of a channel's log: positions, drafts, current states, events.

Times are whole milliseconds since the Unix epoch, UTC. Offsets count a channel's events from 1, densely, within an
epoch; offset 0 is "before the first event".
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NewType

from server.domain.channels import ChannelName
from server.domain.identity import Author

MessageId = NewType("MessageId", str)
"""A UUIDv7 in its canonical text form, given by the server."""

ID_RANDOM_BYTES = 10
"""Of a UUIDv7: 74 bits of them are kept."""

Data = Mapping[str, Any]
"""An application's own JSON object beside the text."""


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a channel's log: after the event with this offset, in this epoch."""

    epoch: str
    offset: int


@dataclass(frozen=True, slots=True)
class Message:
    """A message in one of its states. `offset` is that of its creation, in every state; `version` counts from 1."""

    id: MessageId
    channel: ChannelName
    author: Author
    text: str
    data: Data | None
    reply_to: MessageId | None
    key: str | None
    created_at: int
    edited_at: int | None
    version: int
    offset: int


@dataclass(frozen=True, slots=True)
class Tombstone:
    """What is left of a deleted message: its place."""

    id: MessageId
    channel: ChannelName
    offset: int


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


@dataclass(frozen=True, slots=True)
class Post:
    """A message to be written. With a `key`, the same (channel, author, key) within 24 h is one message."""

    channel: ChannelName
    id: MessageId
    author: Author
    text: str
    data: Data | None
    reply_to: MessageId | None
    key: str | None
    at: int


@dataclass(frozen=True, slots=True)
class Revision:
    """A new text for a message. `data` replaces the old one, or leaves it where `keep_data` says so."""

    channel: ChannelName
    id: MessageId
    text: str
    data: Data | None
    keep_data: bool
    at: int


@dataclass(frozen=True, slots=True)
class Deletion:
    """A message to be deleted."""

    channel: ChannelName
    id: MessageId
    at: int


Draft = Post | Revision | Deletion
"""What may be appended to a log: an event that has no offset yet."""


def message_id(unix_ms: int, randomness: bytes) -> MessageId:
    """Build a UUIDv7 (RFC 9562, section 5.7) from the time and 10 random bytes: ids sort by creation time."""
    if len(randomness) != ID_RANDOM_BYTES:
        raise ValueError(f"randomness: expected {ID_RANDOM_BYTES} bytes, got {len(randomness)}")
    raw = bytearray(unix_ms.to_bytes(6, "big") + randomness)
    raw[6] = raw[6] & 0x0F | 0x70
    raw[8] = raw[8] & 0x3F | 0x80
    text = raw.hex()
    return MessageId(f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}")


def created(post: Post, position: Position) -> MessageCreated:
    """The event that a post becomes once the log has given it a position."""
    message = Message(
        id=post.id,
        channel=post.channel,
        author=post.author,
        text=post.text,
        data=post.data,
        reply_to=post.reply_to,
        key=post.key,
        created_at=post.at,
        edited_at=None,
        version=1,
        offset=position.offset,
    )
    return MessageCreated(post.channel, position.epoch, position.offset, post.at, message)


def revised(message: Message, revision: Revision) -> Message:
    """The message's next state."""
    return Message(
        id=message.id,
        channel=message.channel,
        author=message.author,
        text=revision.text,
        data=message.data if revision.keep_data else revision.data,
        reply_to=message.reply_to,
        key=message.key,
        created_at=message.created_at,
        edited_at=revision.at,
        version=message.version + 1,
        offset=message.offset,
    )
