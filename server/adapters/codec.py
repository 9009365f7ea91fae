"""Events as bytes, for logs and brokers: compact JSON with a version.

Shape: `{"v": 1, "t": "created" | "edited" | "deleted", "c": channel, "e": epoch, "o": offset, "a": at, ...}`
with `"m"`, the whole message, or `"i"`, the id of the deleted one. Decoding checks what it needs: bytes from
a shared broker are a stranger's until then.
"""

from typing import Any

import orjson

from server.domain.channels import ChannelName
from server.domain.events import Event, MessageCreated, MessageDeleted, MessageEdited
from server.domain.identity import Author, UserId
from server.domain.messages import Message, MessageId

VERSION = 1
"""Of the shape above; a reader refuses what it does not know."""


class DecodeError(ValueError):
    """The bytes are no event of a known version."""


def encode_event(event: Event) -> bytes:
    """One event with its position."""
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
    """The inverse of `encode_event`; `DecodeError` on anything else."""
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
        case other:
            raise DecodeError(f"event of unknown type {other!r}")


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
