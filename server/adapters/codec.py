"""Events as bytes, for logs and brokers: compact JSON with a version.

Shape: `{"v": 1, "t": kind, "c": channel, "e": epoch, "o": offset, "a": at, ...}`. The kinds `created` and `edited` have
`"m"`, the whole message; `deleted` has `"i"`, the id of the message. A later version may add kinds (lower-case letters
and `_`): this one reads them as `UnknownEvent`. Decoding checks every field that it needs: bytes from a shared broker
are a stranger's until then.
"""

import re
from typing import Any

import orjson

from server.domain.channels import ChannelName
from server.domain.events import Event, MessageCreated, MessageDeleted, MessageEdited, MessageEvent, UnknownEvent
from server.domain.identity import Author, UserId
from server.domain.messages import Message, MessageId

VERSION = 1
"""Of the shape above. A reader refuses another version."""

_KIND = re.compile(r"[a-z_]{1,64}")
"""Bounded, since the kind of an unknown event is kept in memory with it."""


class DecodeError(ValueError):
    """The bytes are no event of a known version: they are damaged, or a stranger's."""


def encode_event(event: MessageEvent) -> bytes:
    """Return the bytes of an event with its position: a single line."""
    fields: dict[str, Any] = {
        "v": VERSION,
        "c": event.channel,
        "e": event.epoch,
        "o": event.offset,
        "a": event.at,
    }
    match event:
        case MessageCreated():
            fields |= {"t": "created", "m": _message_fields(event.message)}
        case MessageEdited():
            fields |= {"t": "edited", "m": _message_fields(event.message)}
        case MessageDeleted():
            fields |= {"t": "deleted", "i": event.id}
    return orjson.dumps(fields)


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
    offset, at = _whole(fields["o"]), _whole(fields["a"])
    match fields["t"]:
        case "created":
            return MessageCreated(channel, epoch, offset, at, _message(fields["m"]))
        case "edited":
            return MessageEdited(channel, epoch, offset, at, _message(fields["m"]))
        case "deleted":
            return MessageDeleted(channel, epoch, offset, at, MessageId(_text(fields["i"])))
        case str(kind) if _KIND.fullmatch(kind):
            return UnknownEvent(channel, epoch, offset, at, kind)
        case _:
            raise DecodeError("the event's kind is no word")


def known(event: Event) -> MessageEvent:
    """Return the event, which must be of a known kind: it is the state of a message. Raises `DecodeError`."""
    if isinstance(event, UnknownEvent):
        raise DecodeError(f"a message's state is an event of the unknown kind {event.kind!r}")
    return event


def _message_fields(message: Message) -> dict[str, Any]:
    return {
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
    }


def _message(fields: dict[str, Any]) -> Message:
    user, name = fields["author"]
    return Message(
        id=MessageId(_text(fields["id"])),
        channel=ChannelName(_text(fields["channel"])),
        author=Author(UserId(_text(user)), name),
        text=_text(fields["text"]),
        data=fields["data"],
        reply_to=fields["reply_to"],
        key=fields["key"],
        created_at=_whole(fields["created_at"]),
        edited_at=fields["edited_at"],
        version=_whole(fields["version"]),
        offset=_whole(fields["offset"]),
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("expected text")
    return value


def _whole(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError("expected a whole number")
    return value
