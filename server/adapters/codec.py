"""Events as bytes, for logs and brokers: compact JSON with a version.

Shape: `{"v": 1, "t": kind, "c": channel, "e": epoch, "o": offset, "a": at, ...}`. The kinds `created` and `edited` have
`"m"`, the whole message; `deleted` has `"i"`, the id of the message, and `"b"`, the moderator who deleted it, if one
did; `erased` has `"i"`, `"n"`, the offset of the message's creation, `"w"`, the kind of the event that stood there, and
`"u"`, the digest of the author, if it is known; `reacted` has `"i"` and `"r"`, a list of `[emoji, count, [user ...]]`;
`published` has `"n"`, its name, `"w"`, its author, `"d"`, its data, and `"k"`, its key.
A later version may add kinds (lower-case letters and `_`): this one reads them as `UnknownEvent`. Decoding checks the
type and the range of every field that it needs: bytes from a shared broker are a stranger's until then.
"""

import re
from typing import Any

import orjson

from server.domain.channels import ChannelName
from server.domain.events import (
    Event,
    EventPublished,
    LogEvent,
    MessageChange,
    MessageCreated,
    MessageDeleted,
    MessageEdited,
    MessageErased,
    MessageEvent,
    ReactionChanged,
    UnknownEvent,
)
from server.domain.identity import Author, UserId
from server.domain.limits import MAX_OFFSET
from server.domain.messages import Message, MessageId
from server.domain.reactions import Reacted, Reactions

VERSION = 1
"""Of the shape above. A reader refuses another version."""

MAX_TIME_MS = 253_402_300_799_999
"""The last millisecond of the year 9999: a later time has no RFC 3339 text."""

_KIND = re.compile(r"[a-z_]{1,64}")
"""Bounded, since the kind of an unknown event is kept in memory with it."""


class DecodeError(ValueError):
    """The bytes are no event of a known version: they are damaged, or a stranger's."""


def encode_event(event: LogEvent) -> bytes:
    """Return the bytes of an event with its position: a single line."""
    match event:
        case MessageCreated():
            return orjson.dumps(_change_fields("created", event))
        case MessageEdited():
            return orjson.dumps(_change_fields("edited", event))
        case MessageDeleted():
            by = {} if event.by is None else {"b": [event.by.id, event.by.name]}
            return orjson.dumps(_place_fields(event) | {"t": "deleted", "i": event.id} | by)
        case MessageErased():
            was = "edited" if event.edited else "created"
            digest = {} if event.author is None else {"u": event.author}
            kept = {"t": "erased", "i": event.id, "n": event.created_offset, "w": was} | digest
            return orjson.dumps(_place_fields(event) | kept)
        case ReactionChanged():
            reacted = {"t": "reacted", "i": event.id, "r": encode_reactions(event.reactions)}
            return orjson.dumps(_place_fields(event) | reacted)
        case EventPublished():
            author = [event.author.id, event.author.name]
            content = {"t": "published", "n": event.name, "w": author, "d": event.data, "k": event.key}
            return orjson.dumps(_place_fields(event) | content)


def encode_reactions(reactions: Reactions) -> list[Any]:
    """Return reactions as JSON."""
    return [[each.emoji, each.count, list(each.users)] for each in reactions]


def decode_reactions(value: object) -> Reactions:
    """Return the reactions of this JSON. Raises `TypeError`, `ValueError`."""
    if not isinstance(value, list):
        raise TypeError("expected reactions")
    return tuple([Reacted(_text(emoji), _offset(count), decode_users(users)) for emoji, count, users in value])


def decode_users(value: object) -> tuple[UserId, ...]:
    """Return the users of this JSON. Raises `TypeError`."""
    if not isinstance(value, list):
        raise TypeError("expected users")
    return tuple([UserId(_text(user)) for user in value])


def _place_fields(event: LogEvent) -> dict[str, Any]:
    return {"v": VERSION, "c": event.channel, "e": event.epoch, "o": event.offset, "a": event.at}


def decode_event(raw: bytes) -> Event:
    """Return the event of these bytes: the inverse of `encode_event`, and `UnknownEvent` for other kinds. Raises
    `DecodeError`."""
    try:
        fields = orjson.loads(raw)
        if fields["v"] != VERSION:
            raise DecodeError(f"event of version {fields['v']!r}, this server reads {VERSION}")
        return _event(fields)
    except DecodeError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise DecodeError(f"not an event: {type(error).__name__}") from error


def _event(fields: dict[str, Any]) -> Event:
    channel, epoch = ChannelName(_text(fields["c"])), _text(fields["e"])
    offset, at = _offset(fields["o"]), _time(fields["a"])
    match fields["t"]:
        case "created":
            return MessageCreated(channel, epoch, offset, at, _message(fields["m"]))
        case "edited":
            return MessageEdited(channel, epoch, offset, at, _message(fields["m"]))
        case "deleted":
            return MessageDeleted(channel, epoch, offset, at, MessageId(_text(fields["i"])), _user(fields.get("b")))
        case "erased":
            id, created_offset = MessageId(_text(fields["i"])), _offset(fields["n"])
            edited = {"created": False, "edited": True}[fields["w"]]
            author = fields.get("u")  # an earlier version did not write it
            digest = None if author is None else _text(author)
            return MessageErased(channel, epoch, offset, at, id, created_offset, edited, digest)
        case "reacted":
            return ReactionChanged(
                channel, epoch, offset, at, MessageId(_text(fields["i"])), decode_reactions(fields["r"])
            )
        case "published":
            name, key = _text(fields["n"]), fields["k"]
            key = None if key is None else _text(key)
            return EventPublished(channel, epoch, offset, at, name, _author(fields["w"]), fields["d"], key)
        case str(kind) if _KIND.fullmatch(kind):
            return UnknownEvent(channel, epoch, offset, at, kind)
        case _:
            raise DecodeError("the event's kind is no word")


def known(event: Event) -> MessageEvent:
    """Return the event, which must be that of a message. Raises `DecodeError`."""
    if isinstance(event, UnknownEvent):
        raise DecodeError(f"expected an event of a message, found the unknown kind {event.kind!r}")
    if isinstance(event, ReactionChanged | EventPublished):
        raise DecodeError(f"expected an event of a message, found {type(event).__name__}")
    return event


def state_of(event: Event) -> MessageChange:
    """Return the event, which must be the last change of a message. Raises `DecodeError`."""
    change = known(event)
    if isinstance(change, MessageErased):
        raise DecodeError("expected the state of a message, found an erased event")
    return change


def _change_fields(kind: str, event: MessageCreated | MessageEdited) -> dict[str, Any]:
    """Return the fields of a change in a single step, since a log writes very many."""
    message = event.message
    later: dict[str, Any] = {"mentions": message.mentions} if message.mentions else {}
    if message.reactions:
        later["reactions"] = encode_reactions(message.reactions)
    return {
        "v": VERSION,
        "c": event.channel,
        "e": event.epoch,
        "o": event.offset,
        "a": event.at,
        "t": kind,
        "m": {
            "id": message.id,
            "channel": message.channel,
            "author": [message.author.id, message.author.name],
            "text": message.text,
            "data": message.data,
            "reply_to": message.reply_to,
            "key": message.key,
            "created_at": message.created_at,
            "edited_at": message.edited_at,
            "version": message.version,
            "offset": message.offset,
            "edited_by": None if message.edited_by is None else [message.edited_by.id, message.edited_by.name],
            **later,
        },
    }


def _message(fields: dict[str, Any]) -> Message:
    edited_at = fields["edited_at"]
    return Message(
        id=MessageId(_text(fields["id"])),
        channel=ChannelName(_text(fields["channel"])),
        author=_author(fields["author"]),
        text=_text(fields["text"]),
        data=_object(fields["data"]),
        reply_to=None if fields["reply_to"] is None else MessageId(_text(fields["reply_to"])),
        key=None if fields["key"] is None else _text(fields["key"]),
        created_at=_time(fields["created_at"]),
        edited_at=None if edited_at is None else _time(edited_at),
        version=_offset(fields["version"]),
        offset=_offset(fields["offset"]),
        edited_by=_user(fields.get("edited_by")),  # an earlier version did not write it
        mentions=decode_users(fields.get("mentions", [])),  # written if there are some
        reactions=decode_reactions(fields.get("reactions", [])),
    )


def _author(value: object) -> Author:
    author = _user(value)
    if author is None:
        raise TypeError("expected an author")
    return author


def _user(value: object) -> Author | None:
    if value is None:
        return None
    if not isinstance(value, list):
        raise TypeError("expected a user")
    id, name = value
    return Author(UserId(_text(id)), None if name is None else _text(name))


def _object(value: object) -> dict[str, Any] | None:
    if value is not None and not isinstance(value, dict):
        raise TypeError("expected an object")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("expected text")
    return value


def _time(value: object) -> int:
    return _whole(value, MAX_TIME_MS)


def _offset(value: object) -> int:
    return _whole(value, MAX_OFFSET)


def _whole(value: object, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError("expected a whole number")
    if not 0 <= value <= most:
        raise ValueError("a number is out of range")
    return value
