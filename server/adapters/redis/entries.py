"""Messages and events as Redis keeps them: one string each, words first, then what may hold spaces.

    event     c AT WRITTEN OFFSET CREATED_AT VERSION CONTENT    a creation; OFFSET is the message's, VERSION is 1
              e AT WRITTEN OFFSET CREATED_AT VERSION CONTENT    an edit, with the message's whole new state
              d AT WRITTEN ID                                   a deletion
    state     as the event that made it, but                    of a message in its current state
              d OFFSET AT                                       of the deletion
    CONTENT   HEAD_BYTES DATA_BYTES HEAD DATA TEXT              without a space after the second number's

HEAD is JSON of what never changes about a message, DATA is JSON or nothing. One field in place of many: Redis walks
over the fields of up to a hundred entries to find one.
"""

from typing import Any

import orjson

from server.domain.channels import ChannelName
from server.domain.drafts import NewMessage
from server.domain.events import Event, MessageCreated, MessageDeleted, MessageEdited
from server.domain.identity import Author, UserId
from server.domain.messages import Message, MessageId, Tombstone

_WORDS = 8
"""Before a message's HEAD."""


def encode_content(post: NewMessage) -> bytes:
    """What the script can't know of a new message."""
    head = orjson.dumps([post.id, post.author.id, post.author.name, post.reply_to, post.key])
    data = encode_data(post.data)
    return b"%d %d %b%b%b" % (len(head), len(data), head, data, post.text.encode())


def encode_data(data: Any) -> bytes:
    """An application's object, or nothing."""
    return b"" if data is None else orjson.dumps(data)


def decode_state(channel: ChannelName, id: MessageId, offset: int, packed: bytes) -> Message | Tombstone:
    """A message's current state."""
    if packed.startswith(b"d "):
        return Tombstone(id, channel, offset)
    return _message(channel, packed.split(b" ", _WORDS))


def decode_entry(channel: ChannelName, epoch: str, offset: int, packed: bytes) -> Event:
    """A stream's entry."""
    words = packed.split(b" ", _WORDS)
    at = int(words[1])
    match words[0]:
        case b"c":
            return MessageCreated(channel, epoch, offset, at, _message(channel, words))
        case b"e":
            return MessageEdited(channel, epoch, offset, at, _message(channel, words))
        case _:
            return MessageDeleted(channel, epoch, offset, at, MessageId(words[3].decode()))


def _message(channel: ChannelName, words: list[bytes]) -> Message:
    kind, at, _, offset, created_at, version, head_bytes, data_bytes, content = words
    data_from = int(head_bytes)
    text_from = data_from + int(data_bytes)
    id, user, name, reply_to, key = orjson.loads(content[:data_from])
    data = content[data_from:text_from]
    return Message(
        id=MessageId(id),
        channel=channel,
        author=Author(UserId(user), name),
        text=content[text_from:].decode(),
        data=orjson.loads(data) if data else None,
        reply_to=reply_to,
        key=key,
        created_at=int(created_at),
        edited_at=int(at) if kind == b"e" else None,
        version=int(version),
        offset=int(offset),
    )
