"""Messages and events as fields of Redis' stream entries and hashes (the scripts copy them, and never look inside).

    created   created=head text data                                                  at written
    edited    edited=head offset created_at text data edited_at version               at written
    deleted   deleted=id                                                              at written

`head` is what never changes about a message, as JSON. A changed message's hash has `text data edited_at version`, a
deleted one's has `deleted deleted_at`. `data` is JSON or empty.
"""

from collections.abc import Sequence
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


def encode_data(data: Any) -> bytes:
    """An application's object, or nothing."""
    return b"" if data is None else orjson.dumps(data)


def decode_state(
    channel: ChannelName, offset: int, creation: Sequence[bytes], changes: Sequence[bytes]
) -> Message | Tombstone:
    """A message's current state: its creation's entry, and what the hash says of it since."""
    values = _values(creation) | _values(changes)
    if b"deleted" in values:
        head = orjson.loads(values[b"created"])
        return Tombstone(MessageId(head["id"]), channel, offset)
    return _message(channel, offset, values[b"created"], values[b"at"], values)


def decode_entry(channel: ChannelName, epoch: str, offset: int, fields: Sequence[bytes]) -> Event:
    """A stream's entry."""
    values = _values(fields)
    at = int(values[b"at"])
    match fields[0]:
        case b"created":
            message = _message(channel, offset, values[b"created"], values[b"at"], values)
            return MessageCreated(channel, epoch, offset, at, message)
        case b"edited":
            message = _message(channel, int(values[b"offset"]), values[b"edited"], values[b"created_at"], values)
            return MessageEdited(channel, epoch, offset, at, message)
        case _:
            return MessageDeleted(channel, epoch, offset, at, MessageId(values[b"deleted"].decode()))


def _values(fields: Sequence[bytes]) -> dict[bytes, bytes]:
    return dict(zip(fields[::2], fields[1::2], strict=True))


def _message(channel: ChannelName, offset: int, head: bytes, created_at: bytes, values: dict[bytes, bytes]) -> Message:
    fixed: dict[str, Any] = orjson.loads(head)
    user, name = fixed["author"]
    edited_at = values.get(b"edited_at")
    data = values[b"data"]
    return Message(
        id=MessageId(fixed["id"]),
        channel=channel,
        author=Author(UserId(user), name),
        text=values[b"text"].decode(),
        data=orjson.loads(data) if data else None,
        reply_to=fixed["reply_to"],
        key=fixed["key"],
        created_at=int(created_at),
        edited_at=int(edited_at) if edited_at else None,
        version=int(values.get(b"version", b"1")),
        offset=offset,
    )
