"""Messages and events as Redis keeps them: a single string each, words first, then the parts that may hold spaces.

    event     KIND AT WRITTEN ...                               of every kind; the scripts read these three words
              c AT WRITTEN OFFSET CREATED_AT VERSION CONTENT    a creation; OFFSET is the message's, VERSION is 1
              e AT WRITTEN OFFSET CREATED_AT VERSION CONTENT    an edit, with the message's whole new state
              d AT WRITTEN ID                                   a deletion
    state     as the event that made it, but                    of a message in its current state
              d OFFSET AT                                       of the deletion
    CONTENT   HEAD_BYTES DATA_BYTES HEAD DATA TEXT              without a space after the second number's

HEAD is JSON of the parts of a message that never change, DATA is JSON or nothing. A string instead of many fields:
Redis walks over the fields of up to a hundred entries to find one.

A later version may add kinds of events (lower-case letters): this one reads them as `UnknownEvent`. A state is always
of one of the three kinds above. Everything else is damaged: `DecodeError`.
"""

import re
from typing import Any

import orjson

from server.adapters.codec import DecodeError
from server.domain.channels import ChannelName
from server.domain.drafts import NewMessage
from server.domain.events import Event, MessageCreated, MessageDeleted, MessageEdited, UnknownEvent
from server.domain.identity import Author, UserId
from server.domain.messages import Message, MessageId, Tombstone

_WORDS = 8
"""Before a message's HEAD."""

_KIND = re.compile(rb"[a-z]{1,64}")
"""Bounded, since the kind of an unknown event is kept in memory with it."""

_DAMAGE = (IndexError, TypeError, ValueError)
"""Raised by code that expects a sound entry."""


def encode_content(draft: NewMessage) -> bytes:
    """Return the CONTENT of a new message: the script adds the words before it."""
    head = orjson.dumps([draft.id, draft.author.id, draft.author.name, draft.reply_to, draft.key])
    data = encode_data(draft.data)
    return b"%d %d %b%b%b" % (len(head), len(data), head, data, draft.text.encode())


def encode_data(data: Any) -> bytes:
    """Return the JSON of an application's object; nothing for None."""
    return b"" if data is None else orjson.dumps(data)


def decode_state(channel: ChannelName, id: MessageId, offset: int, packed: bytes) -> Message | Tombstone:
    """Return a message's current state. Raises `DecodeError`."""
    words = packed.split(b" ", _WORDS)
    if words[0] == b"d":
        return Tombstone(id, channel, offset)
    if words[0] not in {b"c", b"e"}:
        raise DecodeError("a message's state is of an unknown kind")
    try:
        return _message(channel, words)
    except _DAMAGE as error:
        raise _damaged(error) from error


def decode_entry(channel: ChannelName, epoch: str, offset: int, packed: bytes) -> Event:
    """Return the event of a stream's entry. Raises `DecodeError`."""
    words = packed.split(b" ", _WORDS)
    try:
        at, _ = int(words[1]), int(words[2])
        match words[0]:
            case b"c":
                return MessageCreated(channel, epoch, offset, at, _message(channel, words))
            case b"e":
                return MessageEdited(channel, epoch, offset, at, _message(channel, words))
            case b"d":
                _, _, _, id = words
                return MessageDeleted(channel, epoch, offset, at, MessageId(id.decode()))
            case kind:
                if not _KIND.fullmatch(kind):
                    raise ValueError("the kind is no word")
                return UnknownEvent(channel, epoch, offset, at, kind.decode())
    except _DAMAGE as error:
        raise _damaged(error) from error


def _damaged(error: Exception) -> DecodeError:
    """Name the kind of the error only: its text may repeat a part of a message."""
    return DecodeError(f"not an entry of the log: {type(error).__name__}")


def _message(channel: ChannelName, words: list[bytes]) -> Message:
    kind, at, _, offset, created_at, version, head_bytes, data_bytes, content = words
    data_from = int(head_bytes)
    text_from = data_from + int(data_bytes)
    if len(content) < text_from:
        raise ValueError("the content is cut off")
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
