"""Messages, log events and pages as JSON: pure translation from domain values."""

from collections.abc import Sequence
from dataclasses import replace

import orjson

from server.domain.appending import Appended
from server.domain.events import (
    Event,
    EventPublished,
    LogEvent,
    MessageCreated,
    MessageDeleted,
    MessageEdited,
    MessageErased,
    MessageEvent,
    ReactionChanged,
    UnknownEvent,
)
from server.domain.identity import Author, UserId
from server.domain.marks import Announced, Mark
from server.domain.messages import Message, Position, Tombstone
from server.domain.reactions import Reactions
from server.domain.recovery import NotResumable
from server.domain.rings import EncodedEvent
from server.ports.message_log import Page
from server.ports.records import RecordPage
from server.wire.words import Json, ServerEvent, timestamp

# Looking up the value of an enum's member takes longer than the bytes around a message.
_CREATED = ServerEvent.MESSAGE_CREATED.value
_EDITED = ServerEvent.MESSAGE_EDITED.value
_DELETED = ServerEvent.MESSAGE_DELETED.value
_REACTED = ServerEvent.REACTION_CHANGED.value
_PUBLISHED = ServerEvent.EVENT_PUBLISHED.value


def message(value: Message | Tombstone) -> Json:
    """A message in one of its states. `edited_by` and `deleted_by` are there if a moderator acted."""
    if isinstance(value, Tombstone):
        gone: Json = {"id": value.id, "channel": value.channel, "deleted": True, "offset": value.offset}
        return gone if value.deleted_by is None else gone | {"deleted_by": author(value.deleted_by)}
    body: Json = {
        "id": value.id,
        "channel": value.channel,
        "author": author(value.author),
        "text": value.text,
        "data": value.data,
        "reply_to": value.reply_to,
        "key": value.key,
        "created_at": timestamp(value.created_at),
        "edited_at": None if value.edited_at is None else timestamp(value.edited_at),
        "version": value.version,
        "mentions": value.mentions,
        "reactions": reactions(value.reactions),
        "offset": value.offset,
    }
    return body if value.edited_by is None else body | {"edited_by": author(value.edited_by)}


def reactions(value: Reactions) -> Json:
    """The reactions to a message, by emoji."""
    return {each.emoji: {"count": each.count, "users": each.users} for each in value}


def author(value: Author) -> Json:
    """The user that wrote, edited or deleted a message."""
    return {"id": value.id, "name": value.name}


def subject(event: MessageEvent) -> Json:
    """The message that an event is about, as the event shows it."""
    match event:
        case MessageCreated() | MessageEdited():
            return message(event.message)
        case MessageErased():
            return message(Tombstone(event.id, event.channel, event.created_offset))
        case MessageDeleted():
            gone: Json = {"id": event.id, "channel": event.channel, "deleted": True}
            return gone if event.by is None else gone | {"deleted_by": author(event.by)}


def sent(appended: Appended, *, delivered: bool = True) -> bytes:
    """The ack of `message:send`, as JSON. If the message will be delivered here, its JSON is kept for that."""
    event, duplicate = appended.event, appended.duplicate
    if delivered and isinstance(event, MessageCreated) and not duplicate:
        json = _kept(event.message)
    else:  # delivered earlier, as a rule: the JSON would be kept for nobody
        json = orjson.dumps(subject(event))
    return b'{"ok":true,"message":%b,"epoch":%b,"offset":%d,"duplicate":%b}' % (
        json,
        orjson.dumps(event.epoch),
        event.offset,
        b"true" if duplicate else b"false",
    )


def encode(event: Event) -> EncodedEvent:
    """Encode an event once, for its delivery and for every replay."""
    match event:
        case MessageCreated(message=changed):
            return EncodedEvent(event.offset, _CREATED, _body(event, _taken(changed)), changed.id, deletes=False)
        case MessageEdited(message=changed):
            return EncodedEvent(event.offset, _EDITED, _body(event, _taken(changed)), changed.id, deletes=False)
        case MessageErased():
            name, gone = _EDITED if event.edited else _CREATED, orjson.dumps(subject(event))
            return EncodedEvent(event.offset, name, _body(event, gone), None, deletes=False)
        case MessageDeleted():
            gone = orjson.dumps(subject(event))
            return EncodedEvent(event.offset, _DELETED, _body(event, gone), event.id, deletes=True)
        case ReactionChanged():
            body = _place(event) | {"id": event.id, "reactions": reactions(event.reactions)}
            return EncodedEvent(event.offset, _REACTED, _compact(body), None, deletes=False)
        case EventPublished():
            content = {"name": event.name, "author": author(event.author), "data": event.data, "key": event.key}
            return EncodedEvent(event.offset, _PUBLISHED, _compact(_place(event) | content), None, deletes=False)
        case UnknownEvent():
            return EncodedEvent(event.offset, "", b"", None, deletes=False)


def announced(encoded: EncodedEvent) -> Announced | None:
    """Return the message that an event announces, as far as reading marks go; None if it is no creation."""
    if encoded.name != _CREATED:
        return None
    message = orjson.loads(encoded.json)["message"]
    by = message.get("author")
    return Announced(None, ()) if by is None else Announced(UserId(by["id"]), message["mentions"])


def _place(event: LogEvent) -> Json:
    return {"channel": event.channel, "epoch": event.epoch, "offset": event.offset, "at": timestamp(event.at)}


def _body(event: LogEvent, subject: bytes) -> bytes:
    """Return the JSON of an event with the JSON of its message. It takes the memory of its bytes alone (`_compact`)."""
    return b'{"channel":%b,"epoch":%b,"offset":%d,"at":"%b","message":%b}' % (
        orjson.dumps(event.channel),
        orjson.dumps(event.epoch),
        event.offset,
        timestamp(event.at).encode(),
        subject,
    )


def _kept(value: Message) -> bytes:
    """Return the JSON of a message, and keep it with the message until `_taken` is called."""
    json = value.json
    if json is None:
        json = _compact(message(value))
        value.json = json  # type: ignore[misc]  # the one field of a value that is set later
    return json


def _taken(value: Message) -> bytes:
    """Return the JSON of a message, and forget it: a log in memory has the message for as long as it has the event."""
    json = value.json
    if json is None:
        return orjson.dumps(message(value))
    value.json = None  # type: ignore[misc]  # as above
    return json


def _compact(body: Json) -> bytes:
    """Encode a body that is kept. A copy takes the memory of its bytes alone: orjson shrinks a large buffer, and the
    rest of that buffer is too small for the next, so that 450 bytes that are kept would cost 4 KB."""
    return b"%b" % orjson.dumps(body)


def erase(encoded: EncodedEvent) -> EncodedEvent:
    """Return a creation or an edit as the place of a message that was deleted later: nothing of it is left but its id
    and offset."""
    body = orjson.loads(encoded.json)
    gone = body["message"]
    body["message"] = message(Tombstone(gone["id"], gone["channel"], gone["offset"]))
    return replace(encoded, json=_compact(body), message=None)


def events(values: Sequence[EncodedEvent]) -> list[orjson.Fragment]:
    """Whole log events as they stand in `channel:join`'s ack and in `channel:resumed`; already JSON."""
    return [orjson.Fragment(b'{"event":"%b",%b' % (value.name.encode(), value.json[1:])) for value in values]


def replayed(
    position: Position,
    recovered: bool | None,
    reason: NotResumable | None,
    missed: Sequence[EncodedEvent],
    mark: Mark | None = None,
) -> Json:
    """Return the fields that `channel:join`'s ack and `channel:resumed` have in common. Without a mark nothing is read,
    and nothing counted."""
    body: Json = {"epoch": position.epoch, "offset": position.offset, "recovered": recovered}
    if reason is not None:
        body["reason"] = reason.value
    body["events"] = events(missed)
    if mark is None:
        return body | {"read_offset": 0, "unread": 0, "unread_mentions": 0}
    return body | {"read_offset": mark.offset, "unread": mark.unread, "unread_mentions": mark.unread_mentions}


def record_page(value: RecordPage) -> Json:
    """The ack of `events:read`: whole log events, as in a replay."""
    return {
        "events": events([encode(event) for event in value.events]),
        "epoch": value.head.epoch,
        "offset": value.head.offset,
        "more": value.more,
    }


def page(value: Page) -> Json:
    """The ack of `history:read`."""
    return {
        "messages": [message(item) for item in value.messages],
        "epoch": value.head.epoch,
        "offset": value.head.offset,
        "more": value.more,
    }
