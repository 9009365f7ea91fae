"""Drafts: changes that are to be appended to a channel's log, and have no offset yet."""

from dataclasses import dataclass
from typing import Any

from server.domain.channels import ChannelName
from server.domain.identity import Author, UserId
from server.domain.messages import Data, MessageId
from server.domain.values import value


@value
class NewMessage:
    """A message to be written. Drafts with the same (channel, author, `key`) within 24 h are the same message.

    `marks`: the author's reading mark moves to the message, in the same step.
    """

    channel: ChannelName
    id: MessageId
    author: Author
    text: str
    data: Data | None
    reply_to: MessageId | None
    key: str | None
    at: int
    mentions: tuple[UserId, ...] = ()
    marks: bool = True


@value
class Revision:
    """A new text for a message. `data` replaces the old data, unless `keep_data`. `by` is the moderator who edits
    another author's message; None if the author edits."""

    channel: ChannelName
    id: MessageId
    text: str
    data: Data | None
    keep_data: bool
    at: int
    by: Author | None = None


@value
class Deletion:
    """A message to be deleted. `by` is the moderator who deletes another author's message; None if the author does."""

    channel: ChannelName
    id: MessageId
    at: int
    by: Author | None = None


@value
class Reaction:
    """A user reacts to a message with an emoji, or takes that back (`add` is False)."""

    channel: ChannelName
    id: MessageId
    emoji: str
    user: UserId
    add: bool
    at: int


@value
class Record:
    """An event of an application to be written. Drafts with the same (channel, author, `key`) within 24 h are the same
    event; keys of events and of messages do not meet. `data` is any JSON value."""

    channel: ChannelName
    name: str
    author: Author
    data: Any
    key: str | None
    at: int


@dataclass(slots=True, eq=False, weakref_slot=True)
class Sender:
    """A client whose drafts are given to the log without waiting for each other.

    `failed` is set by the log once it has refused a draft that the client may try again: the drafts behind it are
    refused, too, so that the client can repeat all of them in their order. A failed sender stays failed.
    """

    failed: bool = False


Draft = NewMessage | Revision | Deletion
"""Changes of messages. Closed: match it exhaustively."""
