"""Values about people: reactions, presence, typing, reading marks and inboxes; and the signals that tell of them."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from maru_bot.events import Author, Json, Position, Published
from maru_bot.parsing import author, log_event, position

SIGNALS = frozenset({"typing:changed", "read:updated", "presence:joined", "presence:left", "presence:count"})
"""Events of the protocol that stand in no log, beside `event:published` without a position."""


@dataclass(frozen=True, slots=True)
class Settled:
    """An acked reaction, or event of an application. `duplicate`: it was so before. `position` is that of the event, or
    of the message's last event; None if the event is in no log."""

    position: Position | None
    duplicate: bool


@dataclass(frozen=True, slots=True)
class Mark:
    """How far the bot's user has read: up to `offset`; `unread` messages come behind it."""

    offset: int
    unread: int
    unread_mentions: int


@dataclass(frozen=True, slots=True)
class ReadBy:
    """How far a user has read."""

    user: str
    offset: int


@dataclass(frozen=True, slots=True)
class Member:
    """A user in a channel."""

    user: str
    name: str | None
    since: datetime


@dataclass(frozen=True, slots=True)
class Roster:
    """The users in a channel, at a version: `Joined` and `Left` have the versions behind it. `complete`: `members` are
    all of them."""

    members: tuple[Member, ...]
    count: int
    epoch: str
    version: int
    complete: bool


@dataclass(frozen=True, slots=True)
class Records:
    """Events of applications, oldest first. `more`: the log has more of them. `position`: the log's end."""

    events: tuple[Published, ...]
    position: Position
    more: bool


@dataclass(frozen=True, slots=True)
class Last:
    """The last message of a channel in an inbox: the first characters of its text, or None if it was deleted."""

    id: str
    author: Author | None
    text: str | None
    at: datetime | None


@dataclass(frozen=True, slots=True)
class Followed:
    """A channel in an inbox."""

    channel: str
    position: Position
    last: Last | None
    mark: Mark


@dataclass(frozen=True, slots=True)
class Inbox:
    """Channels that the bot's user follows, the latest message first. `next`: give it as `before` for the next page."""

    channels: tuple[Followed, ...]
    next: str | None


@dataclass(frozen=True, slots=True)
class Signal:
    """Something that holds for a moment. A signal may be lost, and is never repeated."""

    channel: str


@dataclass(frozen=True, slots=True)
class Typing(Signal):
    """A user types, or has stopped. If nothing more is heard, it is over after `expires_in` seconds."""

    user: str
    typing: bool
    expires_in: float


@dataclass(frozen=True, slots=True)
class Read(Signal):
    """A user has read up to an offset."""

    user: str
    offset: int


@dataclass(frozen=True, slots=True)
class Entered(Signal):
    """A user has come into the channel, which has `count` users now. Versions of `Entered` and `Gone` are dense: after
    a gap, read the roster again."""

    user: str
    name: str | None
    count: int
    epoch: str
    version: int


@dataclass(frozen=True, slots=True)
class Gone(Entered):
    """A user has left the channel."""


@dataclass(frozen=True, slots=True)
class Counted(Signal):
    """The number of users in a large channel. `names`: names are told again from now on."""

    count: int
    epoch: str
    version: int
    names: bool


@dataclass(frozen=True, slots=True)
class Emitted(Signal):
    """An event of an application that is in no log."""

    name: str
    author: Author
    data: Any


def signal(name: str, body: Json) -> Signal | None:
    """Read an event that stands in no log; None if it is of another kind. Raises `KeyError` and the like for a broken
    event."""
    channel = body["channel"]
    match name:
        case "typing:changed":
            return Typing(channel, body["user"], body["typing"], body["expires_in_ms"] / 1000)
        case "read:updated":
            return Read(channel, body["user"], body["offset"])
        case "presence:joined" | "presence:left":
            made = Entered if name == "presence:joined" else Gone
            return made(channel, body["user"], body["name"], body["count"], body["epoch"], body["version"])
        case "presence:count":
            return Counted(channel, body["count"], body["epoch"], body["version"], body["names"])
        case "event:published" if "offset" not in body:
            return Emitted(channel, body["name"], author(body["author"]), body["data"])
        case _:
            return None


def settled(ack: Json) -> Settled:
    """Read the ack of `reaction:add`, `reaction:remove` or `event:publish`."""
    return Settled(position(ack) if "offset" in ack else None, ack.get("duplicate", False))


def mark(ack: Json) -> Mark:
    """Read the ack of `read:mark`."""
    return Mark(ack["offset"], ack["unread"], ack["unread_mentions"])


def receipts(ack: Json) -> tuple[ReadBy, ...]:
    """Read the ack of `receipts:read`."""
    return tuple(ReadBy(each["user"], each["offset"]) for each in ack["read"])


def roster(ack: Json) -> Roster:
    """Read the ack of `presence:read`."""
    members = tuple(_member(each) for each in ack["members"])
    return Roster(members, ack["count"], ack["epoch"], ack["version"], ack["complete"])


def _member(body: Json) -> Member:
    return Member(body["user"], body["name"], datetime.fromisoformat(body["since"]))


def records(ack: Json) -> Records:
    """Read the ack of `events:read`."""
    events = (log_event("event:published", each) for each in ack["events"])
    return Records(tuple(each for each in events if isinstance(each, Published)), position(ack), ack["more"])


def inbox(ack: Json) -> Inbox:
    """Read the ack of `inbox:read`."""
    return Inbox(tuple(_followed(each) for each in ack["channels"]), ack["next"])


def _followed(body: Json) -> Followed:
    unread = Mark(body["read_offset"], body["unread"], body["unread_mentions"])
    last = None if body["last"] is None else _last(body["last"])
    return Followed(body["channel"], position(body), last, unread)


def _last(body: Json) -> Last:
    by, at = body.get("author"), body.get("at")
    return Last(
        body["id"],
        None if by is None else author(by),
        None if body.get("deleted") else body["text"],
        None if at is None else datetime.fromisoformat(at),
    )
