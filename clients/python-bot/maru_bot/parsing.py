"""Reading log events, messages and answers from the JSON on the wire. Broken JSON raises `KeyError` and the like."""

from datetime import datetime

from maru_bot.events import (
    LOG_EVENTS,
    Author,
    Created,
    Deleted,
    Edited,
    Json,
    Message,
    Page,
    Position,
    Published,
    Reacted,
    Reaction,
    Reactions,
    Receipt,
    Tombstone,
)


def position(body: Json) -> Position:
    """Read `{epoch, offset}`."""
    return Position(body["epoch"], body["offset"])


def log_event(name: str, body: Json) -> Created | Edited | Deleted | Reacted | Published | None:
    """Read a log event; None if readers do not get its kind. Raises `KeyError` and the like for a broken event."""
    channel, place, at = body["channel"], position(body), datetime.fromisoformat(body["at"])
    if name == "reaction:changed":
        return Reacted(channel, place, at, body["id"], _reactions(body["reactions"]))
    if name == "event:published":
        return Published(channel, place, at, body["name"], author(body["author"]), body["data"], body["key"])
    if name not in LOG_EVENTS:
        return None
    subject = body["message"]
    if name == "message:deleted" or subject.get("deleted"):
        return Deleted(channel, place, at, subject["id"], _moderator(subject, "deleted_by"))
    made = Created if name == "message:created" else Edited
    return made(channel, place, at, _message(subject))


def message(body: Json) -> Message | Tombstone:
    """Read a message, which may be deleted."""
    if body.get("deleted"):
        return Tombstone(body["id"], body["channel"], body["offset"], _moderator(body, "deleted_by"))
    return _message(body)


def _moderator(body: Json, field: str) -> Author | None:
    by = body.get(field)
    return None if by is None else author(by)


def author(body: Json) -> Author:
    """Read `{id, name}`."""
    return Author(body["id"], body["name"])


def _reactions(body: Json) -> Reactions:
    return {emoji: Reaction(each["count"], tuple(each["users"])) for emoji, each in body.items()}


def _message(body: Json) -> Message:
    edited_at = body["edited_at"]
    return Message(
        body["id"],
        body["channel"],
        author(body["author"]),
        body["text"],
        body["data"],
        body["reply_to"],
        body["key"],
        datetime.fromisoformat(body["created_at"]),
        None if edited_at is None else datetime.fromisoformat(edited_at),
        body["version"],
        body["offset"],
        _moderator(body, "edited_by"),
        tuple(body.get("mentions", ())),  # an earlier server did not write them
        _reactions(body.get("reactions", {})),
    )


def receipt(ack: Json) -> Receipt:
    """Read the ack of `message:send` or `message:edit`."""
    return Receipt(message(ack["message"]), position(ack), ack.get("duplicate", False))


def page(ack: Json) -> Page:
    """Read the ack of `history:read`."""
    return Page(tuple(message(item) for item in ack["messages"]), position(ack), ack["more"])
