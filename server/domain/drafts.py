"""Drafts: what may be appended to a channel's log, before the log has given it an offset."""

from dataclasses import dataclass

from server.domain.channels import ChannelName
from server.domain.identity import Author
from server.domain.messages import Data, MessageId


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
