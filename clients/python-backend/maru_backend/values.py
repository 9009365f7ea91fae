"""What calls return: frozen values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from maru_backend.errors import MaruError

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Author:
    """A user: the `sub` of their tokens, and the name that people see."""

    id: str
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """A message in one of its states. `offset` is that of its creation; `edited_by` is a moderator who edited it."""

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
    reactions: Json = field(default_factory=dict)
    mentions: tuple[str, ...] = ()
    edited_by: Author | None = None


@dataclass(frozen=True, slots=True)
class Tombstone:
    """A deleted message: nothing is left of its text and data. `deleted_by` is a moderator who deleted it."""

    id: str
    channel: str
    offset: int | None
    deleted_by: Author | None = None


@dataclass(frozen=True, slots=True)
class Sent:
    """A message that is in the log. `duplicate`: an earlier call with the same key has written it; it may have been
    deleted since."""

    message: Message | Tombstone
    epoch: str
    offset: int
    duplicate: bool


@dataclass(frozen=True, slots=True)
class Edited:
    """A message in its new state, and the place of the edit in the log."""

    message: Message | Tombstone
    epoch: str
    offset: int


@dataclass(frozen=True, slots=True)
class Published:
    """The place of an application's event in the log. `duplicate`: an earlier call with the same key has written it."""

    epoch: str
    offset: int
    duplicate: bool


@dataclass(frozen=True, slots=True)
class Page:
    """Messages in their present state, oldest first. `more`: there are more beyond it in the direction that was read.
    `epoch` and `offset` are the end of the log."""

    messages: tuple[Message | Tombstone, ...]
    epoch: str
    offset: int
    more: bool


@dataclass(frozen=True, slots=True)
class Delivery:
    """The outcome of a broadcast in one channel: the message's place, or the error."""

    channel: str
    id: str | None = None
    epoch: str | None = None
    offset: int | None = None
    duplicate: bool = False
    error: MaruError | None = None

    @property
    def ok(self) -> bool:
        """Whether the message is in the channel's log."""
        return self.error is None


@dataclass(frozen=True, slots=True)
class Broadcast:
    """The outcomes of a broadcast, in the order of the channels asked for. Repeated with the same `key`,
    the call doubles nothing."""

    results: tuple[Delivery, ...]
    key: str

    @property
    def failed(self) -> tuple[Delivery, ...]:
        """The channels that do not have the message."""
        return tuple(each for each in self.results if not each.ok)


@dataclass(frozen=True, slots=True)
class Revocation:
    """Tokens that are refused: those of `user` that were issued before `issued_before` (all of them, if `ban`), or the
    token `jti`, until `expires_at`."""

    id: str
    user: str | None
    jti: str | None
    issued_before: datetime
    expires_at: datetime
    ban: bool = False


@dataclass(frozen=True, slots=True)
class Erasure:
    """How many messages of a user are erased, and whether that is all. Asked again with the same `key`, the server
    tells how far it is."""

    erased: int
    done: bool
    key: str


@dataclass(frozen=True, slots=True)
class Present:
    """A user in a channel, and from when on."""

    user: str
    name: str | None
    since: datetime


@dataclass(frozen=True, slots=True)
class Roster:
    """The users in a channel, those that are there longest first. `complete`: all of them are named. `version` grows by
    one with each that enters or leaves, within an epoch."""

    members: tuple[Present, ...]
    count: int
    epoch: str
    version: int
    complete: bool


@dataclass(frozen=True, slots=True)
class UserStatus:
    """Whether a user has sessions, on any replica. `last_seen`: when the last one ended, if that is known."""

    user: str
    online: bool
    sessions: int
    last_seen: datetime | None


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A request to a webhook that was given up: the events `first` to `last` of a channel's log."""

    id: str
    channel: str
    epoch: str
    first: int
    last: int
    reason: str
    failed_at: datetime


@dataclass(frozen=True, slots=True)
class DeadLetters:
    """A page of them, oldest first. `next`: for `after`, None if there are no more."""

    letters: tuple[DeadLetter, ...]
    next: str | None


@dataclass(frozen=True, slots=True)
class Replay:
    """How many letters the endpoint has taken now, and of how many the log no longer has the events: neither are dead
    letters any more. `failed`: the answer at which the call ended. `more`: letters are left."""

    replayed: int
    gone: int
    failed: str | None
    more: bool
