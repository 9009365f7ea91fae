"""Messages, log events and pages as JSON: pure translation from domain values."""

from collections.abc import Sequence

from server.domain.events import MessageCreated, MessageDeleted, MessageEdited, MessageEvent
from server.domain.messages import Message, Position, Tombstone
from server.domain.recovery import NotResumable
from server.ports.message_log import Page
from server.wire.words import Json, ServerEvent, timestamp


def message(value: Message | Tombstone) -> Json:
    """A message in one of its states."""
    if isinstance(value, Tombstone):
        return {"id": value.id, "channel": value.channel, "deleted": True, "offset": value.offset}
    return {
        "id": value.id,
        "channel": value.channel,
        "author": {"id": value.author.id, "name": value.author.name},
        "text": value.text,
        "data": value.data,
        "reply_to": value.reply_to,
        "key": value.key,
        "created_at": timestamp(value.created_at),
        "edited_at": None if value.edited_at is None else timestamp(value.edited_at),
        "version": value.version,
        "reactions": {},
        "offset": value.offset,
    }


def log_event(event: MessageEvent) -> tuple[ServerEvent, Json]:
    """A log event's name and body."""
    position = {
        "channel": event.channel,
        "epoch": event.epoch,
        "offset": event.offset,
        "at": timestamp(event.at),
    }
    match event:
        case MessageCreated():
            return ServerEvent.MESSAGE_CREATED, position | {"message": message(event.message)}
        case MessageEdited():
            return ServerEvent.MESSAGE_EDITED, position | {"message": message(event.message)}
        case MessageDeleted():
            gone = {"id": event.id, "channel": event.channel, "deleted": True}
            return ServerEvent.MESSAGE_DELETED, position | {"message": gone}


def events(values: Sequence[MessageEvent]) -> list[Json]:
    """Whole log events as they stand in `channel:join`'s ack and in `channel:resumed`."""
    return [{"event": name.value, **body} for name, body in map(log_event, values)]


def replayed(
    position: Position, recovered: bool | None, reason: NotResumable | None, missed: Sequence[MessageEvent]
) -> Json:
    """Return the fields that `channel:join`'s ack and `channel:resumed` have in common."""
    body: Json = {"epoch": position.epoch, "offset": position.offset, "recovered": recovered}
    if reason is not None:
        body["reason"] = reason.value
    return body | {"events": events(missed)}


def page(value: Page) -> Json:
    """The ack of `history:read`."""
    return {
        "messages": [message(item) for item in value.messages],
        "epoch": value.head.epoch,
        "offset": value.head.offset,
        "more": value.more,
    }
