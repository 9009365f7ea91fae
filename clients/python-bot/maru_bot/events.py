"""The values that readers and callers get: frozen, made from the JSON on the wire."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

Json = Mapping[str, Any]

LOG_EVENTS = frozenset({"message:created", "message:edited", "message:deleted", "reaction:changed", "event:published"})
"""Every event of the protocol that has an offset in a channel's log."""

EPOCH_CHARS, MAX_OFFSET = 64, 2**53 - 1
"""Limits of a position: the server refuses a whole CONNECT for another one."""


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a channel's log: offsets are dense within an epoch, and start again in the next epoch."""

    epoch: str
    offset: int

    @property
    def valid(self) -> bool:
        """Whether the server can take it: a stored position may be damaged, and the types are not checked."""
        epoch: object = self.epoch
        offset: object = self.offset
        if not isinstance(epoch, str) or not epoch.isascii() or not 1 <= len(epoch) <= EPOCH_CHARS:
            return False
        return isinstance(offset, int) and not isinstance(offset, bool) and 0 <= offset <= MAX_OFFSET


@dataclass(frozen=True, slots=True)
class Author:
    """The user who wrote a message, or who changed or deleted it as a moderator."""

    id: str
    name: str | None


@dataclass(frozen=True, slots=True)
class Reaction:
    """How many users react to a message with an emoji, and the first ten of them."""

    count: int
    users: tuple[str, ...]


Reactions = Mapping[str, Reaction]
"""The reactions to a message by emoji, in the order of their first reaction."""


@dataclass(frozen=True, slots=True)
class Message:
    """A message in one of its states. `offset` is the offset of its creation, `key` the key of its send.

    `edited_by` is who edited it, if that was not the author. `mentions` are user ids, or `"*"` for everybody.
    """

    id: str
    channel: str
    author: Author
    text: str
    data: Json | None
    reply_to: str | None
    key: str | None
    created_at: datetime
    edited_at: datetime | None
    version: int
    offset: int
    edited_by: Author | None = None
    mentions: tuple[str, ...] = ()
    reactions: Reactions = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Tombstone:
    """A deleted message, as `history` shows it. `deleted_by` is who deleted it, if that was not the author."""

    id: str
    channel: str
    offset: int
    deleted_by: Author | None = None


@dataclass(frozen=True, slots=True)
class LogEvent:
    """An event of a channel's log. Keep its `position` to go on after it in another run: `channel(since=...)`."""

    channel: str
    position: Position
    at: datetime


@dataclass(frozen=True, slots=True)
class Written(LogEvent):
    """A message was created or changed."""

    message: Message

    @property
    def id(self) -> str:
        """The message's id, for `reply_to`, `edit` and `delete`."""
        return self.message.id

    @property
    def text(self) -> str:
        """The message's text."""
        return self.message.text

    @property
    def author(self) -> Author:
        """The message's author."""
        return self.message.author


@dataclass(frozen=True, slots=True)
class Created(Written):
    """A new message."""


@dataclass(frozen=True, slots=True)
class Edited(Written):
    """A message has a new text or new data; `message` is the whole message."""


@dataclass(frozen=True, slots=True)
class Deleted(LogEvent):
    """The message `id` is gone. `by` is who deleted it, if that was not the author.

    A replay has it also in the place of the creation and of each edit of a message that was deleted later.
    """

    id: str
    by: Author | None = None


@dataclass(frozen=True, slots=True)
class Reacted(LogEvent):
    """The reactions to the message `id` are these now, all of them."""

    id: str
    reactions: Reactions


@dataclass(frozen=True, slots=True)
class Published(LogEvent):
    """An application has published an event. `data` is any JSON value."""

    name: str
    author: Author
    data: Any
    key: str | None


@dataclass(frozen=True, slots=True)
class Reset:
    """Events up to `position` are missing, and may never come: read `history`.

    `reason`: `epoch_changed`, `expired`, `too_far_behind` or `ahead_of_log`.
    """

    channel: str
    reason: str
    position: Position


Event = Created | Edited | Deleted | Reacted | Published | Reset


@dataclass(frozen=True, slots=True)
class Receipt:
    """An acked `send` or `edit`: the message is in the log. `duplicate`: an earlier try has written it.

    `message` is a `Tombstone` if a repeated send finds that its message was deleted.
    """

    message: Message | Tombstone
    position: Position
    duplicate: bool


@dataclass(frozen=True, slots=True)
class Page:
    """Messages in their current state, oldest first. `more`: the log has more of them. `position`: the log's end."""

    messages: tuple[Message | Tombstone, ...]
    position: Position
    more: bool
