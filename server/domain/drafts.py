"""Drafts: what may be appended to a channel's log, before the log has given it an offset."""

from dataclasses import dataclass

from server.domain.channels import ChannelName
from server.domain.events import MessageCreated
from server.domain.identity import Author
from server.domain.messages import Data, Message, MessageId, Position


@dataclass(frozen=True, slots=True)
class NewMessage:
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


Draft = NewMessage | Revision | Deletion
"""What may be appended to a log: an event that has no offset yet."""


def created(post: NewMessage, position: Position) -> MessageCreated:
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
