"""Drafts: changes that are to be appended to a channel's log, and have no offset yet."""

from dataclasses import dataclass

from server.domain.channels import ChannelName
from server.domain.identity import Author
from server.domain.messages import Data, MessageId
from server.domain.values import value


@value
class NewMessage:
    """A message to be written. Drafts with the same (channel, author, `key`) within 24 h are the same message."""

    channel: ChannelName
    id: MessageId
    author: Author
    text: str
    data: Data | None
    reply_to: MessageId | None
    key: str | None
    at: int


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


@dataclass(slots=True, eq=False)
class Sender:
    """A client whose drafts are given to the log without waiting for each other.

    `failed` is set by the log once it has refused a draft that the client may try again: the drafts behind it are
    refused, too, so that the client can repeat all of them in their order. A failed sender stays failed.
    """

    failed: bool = False


Draft = NewMessage | Revision | Deletion
"""Everything that can be appended to a log. Closed: match it exhaustively."""
