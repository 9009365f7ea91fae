"""The server's JSON as values. Fields that are not known here are left out."""

from collections.abc import Callable
from datetime import datetime
from typing import TypeVar

from maru_backend.errors import MaruError
from maru_backend.values import (
    Author,
    DeadLetter,
    DeadLetters,
    Delivery,
    Edited,
    Json,
    Message,
    Page,
    Present,
    Published,
    Replay,
    Revocation,
    Roster,
    Sent,
    Tombstone,
    UserStatus,
)

T = TypeVar("T")


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


def published(body: Json) -> Published | None:
    """Read the answer to an event; None if it is not kept."""
    return Published(body["epoch"], body["offset"], body["duplicate"]) if body else None


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


def roster(body: Json) -> Roster:
    """Read the users in a channel."""
    members = tuple(
        Present(each["user"], each["name"], datetime.fromisoformat(each["since"])) for each in body["members"]
    )
    return Roster(members, body["count"], body["epoch"], body["version"], body["complete"])


def counts(body: Json) -> dict[str, int]:
    """Read how many users are in channels."""
    return {each["channel"]: each["count"] for each in body["channels"]}


def statuses(body: Json) -> tuple[UserStatus, ...]:
    """Read whether users are online."""
    return tuple(
        UserStatus(each["user"], each["online"], each["sessions"], _time(each["last_seen"])) for each in body["users"]
    )


def dead_letters(body: Json) -> DeadLetters:
    """Read a page of dead letters."""
    return DeadLetters(tuple(_dead_letter(each) for each in body["letters"]), body.get("next"))


def replay(body: Json) -> Replay:
    """Read what became of letters that were sent again."""
    return Replay(body["replayed"], body["gone"], body.get("failed"), body["more"])


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


def _dead_letter(body: Json) -> DeadLetter:
    place = (body["id"], body["channel"], body["epoch"], body["first"], body["last"])
    return DeadLetter(*place, body["reason"], datetime.fromisoformat(body["failed_at"]))


def _delivery(body: Json) -> Delivery:
    if not body["ok"]:
        return Delivery(body["channel"], error=MaruError.from_wire(body["error"]))
    return Delivery(body["channel"], body["id"], body["epoch"], body["offset"], body["duplicate"])


def _author(body: Json | None) -> Author | None:
    return None if body is None else Author(body["id"], body.get("name"))


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
