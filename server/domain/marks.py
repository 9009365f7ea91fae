"""Reading marks: how far each user has read each channel, and how much they have not (PROTOCOL.md, "Reading")."""

from collections.abc import Collection, Iterable, Sequence

from server.domain.channels import ChannelName
from server.domain.errors import Conflict
from server.domain.identity import UserId
from server.domain.messages import EVERYBODY, Message, Position, Tombstone
from server.domain.values import value

MAX_RECEIPTS = 100
"""Marks that are told of a channel at once."""

MAX_FOLLOWS = 1_000
"""Channels that a user follows."""

INBOX_TEXT_CHARS = 200
"""Characters of the last message's text in an inbox."""

MAX_INBOX = 500
"""Channels in a page of an inbox."""


@value
class Mark:
    """A user's mark in a channel. `offset` 0: nothing is read. `unread`: messages that were created behind the mark and
    are not deleted; `unread_mentions`: those of them that name the user, or everybody. Both are exact for the log up to
    `head`."""

    offset: int
    unread: int
    unread_mentions: int
    head: Position


@value
class Marked:
    """A mark after `mark`. `moved`: it was further back before."""

    mark: Mark
    moved: bool


@value
class Announced:
    """A message that an event of its creation announces; `author` None: it was deleted later."""

    author: UserId | None
    mentions: Collection[UserId]


@value
class Receipt:
    """How far a user has read."""

    user: UserId
    offset: int


@value
class InboxEntry:
    """A channel in an inbox. `last` is the message that was created last, in its current state; None if there is
    none."""

    channel: ChannelName
    mark: Mark
    last: Message | Tombstone | None
    last_at: int | None
    """When it was created, in milliseconds since the epoch; None if there is none."""


@value
class InboxPage:
    """A part of an inbox, the latest message first. `next` names the place behind it; None at the end."""

    entries: Sequence[InboxEntry]
    next: str | None


def advanced(mark: Mark, user: UserId, announced: Iterable[Announced], position: Position) -> Mark | None:
    """Return a mark with the counts as of a later position; `announced` are the messages that were created between.
    Return None if that can't be told: a message was deleted, or is one of the user's own, which may have moved the
    mark."""
    unread, mentions = mark.unread, mark.unread_mentions
    for message in announced:
        if message.author in (None, user):
            return None
        unread += 1
        mentions += user in message.mentions or EVERYBODY in message.mentions
    return Mark(mark.offset, unread, mentions, position)


def too_many_follows() -> Conflict:
    """Return the refusal of following a further channel."""
    return Conflict(f"a user follows {MAX_FOLLOWS} channels at most")
