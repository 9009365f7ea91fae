"""Messages and events as fields of Redis hashes and stream entries (the scripts copy them, and never look inside)."""

from typing import Any

import orjson

from server.domain.channels import ChannelName
from server.domain.identity import Author, UserId
from server.domain.messages import (
    Event,
    Message,
    MessageCreated,
    MessageDeleted,
    MessageEdited,
    MessageId,
    Post,
    Tombstone,
)


def encode_head(post: Post) -> bytes:
    """What never changes about a message."""
    return orjson.dumps(
        {
            "id": post.id,
            "author": [post.author.id, post.author.name],
            "reply_to": post.reply_to,
            "key": post.key,
        }
    )


def decode_state(channel: ChannelName, fields: list[bytes]) -> Message | Tombstone:
    """A message's hash, as HGETALL gives it to a script."""
    values = _values(fields)
    if b"deleted" in values:
        head = orjson.loads(values[b"head"])
        return Tombstone(MessageId(head["id"]), channel, int(values[b"offset"]))
    return _message(channel, values)


def decode_entry(channel: ChannelName, epoch: str, offset: int, fields: list[bytes]) -> Event:
    """A stream's entry."""
    values = _values(fields)
    at = int(values[b"at"])
    match values[b"type"]:
        case b"created":
            return MessageCreated(channel, epoch, offset, at, _message(channel, values))
        case b"edited":
            return MessageEdited(channel, epoch, offset, at, _message(channel, values))
        case _:
            return MessageDeleted(channel, epoch, offset, at, MessageId(values[b"id"].decode()))


def _values(fields: list[bytes]) -> dict[bytes, bytes]:
    return dict(zip(fields[::2], fields[1::2], strict=True))


def _message(channel: ChannelName, values: dict[bytes, bytes]) -> Message:
    head: dict[str, Any] = orjson.loads(values[b"head"])
    user, name = head["author"]
    edited_at = values[b"edited_at"]
    data = values[b"data"]
    return Message(
        id=MessageId(head["id"]),
        channel=channel,
        author=Author(UserId(user), name),
        text=values[b"text"].decode(),
        data=orjson.loads(data) if data else None,
        reply_to=head["reply_to"],
        key=head["key"],
        created_at=int(values[b"created_at"]),
        edited_at=int(edited_at) if edited_at else None,
        version=int(values[b"version"]),
        offset=int(values[b"offset"]),
    )
