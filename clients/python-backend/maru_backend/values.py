"""What calls return: frozen values, made from the server's JSON. Fields that are not known here are left out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from maru_backend.errors import MaruError

Json = Mapping[str, Any]

T = TypeVar("T")


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
class DeadLetter:
    """A request to a webhook that was given up: the events `first` to `last` of the channel's log."""

    id: str
    channel: str
    epoch: str
    first: int
    last: int
    reason: str
    failed_at: datetime


@dataclass(frozen=True, slots=True)
class DeadLetters:
    """Dead letters, oldest first. `next` is None if there are no more."""

    letters: tuple[DeadLetter, ...]
    next: str | None


@dataclass(frozen=True, slots=True)
class Replayed:
    """How many requests the endpoint has taken by now, and of how many the events are no longer kept. `failed`: the
    answer that ended the replay, None if all went well. `more`: some are left."""

    replayed: int
    gone: int
    failed: str | None
    more: bool


def parsed(read: Callable[[Json], T], body: Json) -> T:
    """Read an answer. Raises `MaruError`: `bad_answer` if it is not as described."""
    try:
        return read(body)
    except (KeyError, TypeError, ValueError, AttributeError) as cause:
        raise MaruError("bad_answer", f"an answer without what it should hold ({cause!r})") from cause


def sent(body: Json) -> Sent:
    """Read the answer to a send."""
    return Sent(message(body["message"]), body["epoch"], body["offset"], body["duplicate"])


def edited(body: Json) -> Edited:
    """Read the answer to an edit."""
    return Edited(message(body["message"]), body["epoch"], body["offset"])


def page(body: Json) -> Page:
    """Read a page of history."""
    return Page(tuple(message(each) for each in body["messages"]), body["epoch"], body["offset"], body["more"])


def deliveries(body: Json) -> tuple[Delivery, ...]:
    """Read the results of a broadcast."""
    return tuple(_delivery(each) for each in body["results"])


def revocation(body: Json) -> Revocation:
    """Read a revocation."""
    return Revocation(
        body["id"],
        body.get("user"),
        body.get("jti"),
        datetime.fromisoformat(body["issued_before"]),
        datetime.fromisoformat(body["expires_at"]),
        body.get("ban", False),
    )


def revocations(body: Json) -> tuple[Revocation, ...]:
    """Read a list of them."""
    return tuple(revocation(each) for each in body["revocations"])


def expiry(body: Json) -> datetime:
    """Read the time at which something ends."""
    return datetime.fromisoformat(body["expires_at"])


def message(body: Json) -> Message | Tombstone:
    """Read a message, or a deleted message."""
    if body.get("deleted"):
        return Tombstone(body["id"], body["channel"], body.get("offset"), _author(body.get("deleted_by")))
    return Message(
        id=body["id"],
        channel=body["channel"],
        author=Author(body["author"]["id"], body["author"].get("name")),
        text=body["text"],
        data=body["data"],
        reply_to=body["reply_to"],
        key=body["key"],
        created_at=datetime.fromisoformat(body["created_at"]),
        edited_at=_time(body["edited_at"]),
        version=body["version"],
        offset=body["offset"],
        reactions=body.get("reactions") or {},
        mentions=tuple(body.get("mentions") or ()),
        edited_by=_author(body.get("edited_by")),
    )


def _delivery(body: Json) -> Delivery:
    if not body["ok"]:
        return Delivery(body["channel"], error=MaruError.from_wire(body["error"]))
    return Delivery(body["channel"], body["id"], body["epoch"], body["offset"], body["duplicate"])


def _author(body: Json | None) -> Author | None:
    return None if body is None else Author(body["id"], body.get("name"))


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def dead_letters(body: Json) -> DeadLetters:
    """Read a page of dead letters."""
    return DeadLetters(tuple(_dead_letter(each) for each in body["letters"]), body.get("next"))


def replayed(body: Json) -> Replayed:
    """Read the outcome of a replay."""
    return Replayed(body["replayed"], body["gone"], body.get("failed"), body["more"])


def _dead_letter(body: Json) -> DeadLetter:
    return DeadLetter(
        body["id"],
        body["channel"],
        body["epoch"],
        body["first"],
        body["last"],
        body["reason"],
        datetime.fromisoformat(body["failed_at"]),
    )
