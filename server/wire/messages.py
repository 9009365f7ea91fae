"""Messages, log events and pages as JSON: pure translation from domain values."""

from collections.abc import Sequence
from dataclasses import replace

import orjson

from server.domain.events import Event, MessageCreated, MessageDeleted, MessageEdited, MessageEvent, UnknownEvent
from server.domain.messages import Message, Position, Tombstone
from server.domain.recovery import NotResumable
from server.domain.rings import EncodedEvent
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


def encode(event: Event) -> EncodedEvent:
    """Encode an event once, for its delivery and for every replay."""
    if isinstance(event, UnknownEvent):
        return EncodedEvent(event.offset, "", b"", None, deletes=False)
    name, body = log_event(event)
    deletes = isinstance(event, MessageDeleted)
    message_id = event.id if isinstance(event, MessageDeleted) else event.message.id
    return EncodedEvent(event.offset, name.value, orjson.dumps(body), message_id, deletes)


def erase(encoded: EncodedEvent) -> EncodedEvent:
    """Return a creation or an edit as the place of a message that was deleted later: nothing of it is left but its id
    and offset."""
    body = orjson.loads(encoded.json)
    gone = body["message"]
    body["message"] = message(Tombstone(gone["id"], gone["channel"], gone["offset"]))
    return replace(encoded, json=orjson.dumps(body), message=None)


def events(values: Sequence[EncodedEvent]) -> list[orjson.Fragment]:
    """Whole log events as they stand in `channel:join`'s ack and in `channel:resumed`; already JSON."""
    return [orjson.Fragment(b'{"event":"%b",%b' % (value.name.encode(), value.json[1:])) for value in values]


def replayed(
    position: Position, recovered: bool | None, reason: NotResumable | None, missed: Sequence[EncodedEvent]
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
