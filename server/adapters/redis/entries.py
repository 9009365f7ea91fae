"""Messages and events as Redis keeps them: a single string each, words first, then the parts that may hold spaces.

    event     KIND AT WRITTEN ...                               of every kind; the scripts read these three words
              c AT WRITTEN OFFSET CREATED_AT VERSION 0 CONTENT        a creation; OFFSET is the message's, VERSION is 1
              e AT WRITTEN OFFSET CREATED_AT VERSION BEFORE CONTENT   an edit, with the message's whole new state
              d AT WRITTEN ID [BY]                              a deletion
              x AT WRITTEN OFFSET WAS ID                        in the place of an edit (WAS is 1) or a creation
              r AT WRITTEN JSON                                 reactions: a list of the message's id, and of the
                                                                emojis (codec.py)
              p AT WRITTEN JSON                                 an event of an application: a list of its name, its
                                                                author's id and name, its data, its key
    state     as the event that made it, but                    of a message in its current state
              d OFFSET AT [BY]                                  of the deletion
    CONTENT   HEAD_BYTES DATA_BYTES BY_BYTES HEAD DATA BY TEXT  without a space after the third number's

WAS of a creation is the `author_digest`; an earlier version wrote 0. BEFORE is the offset of the message's edit before,
0 if there is none; of a state, the offset of the edit itself. BY is JSON of the moderator's id and name, or nothing.
HEAD is JSON of the parts of a message that never change, DATA is JSON or nothing. A string instead of many fields:
Redis walks over the fields of up to a hundred entries to find one.

The mentions and the reactions of a message stand behind the others in HEAD, if it has any, in hints and in the answers
of scripts; in the stream they are fields beside the entry (parts.lua), which a former version does not read.

A later version may add kinds of events (lower-case letters): this one reads them as `UnknownEvent`. A state is always
of one of the three kinds above. Everything else is damaged: `DecodeError`.
"""

import re
from typing import Any

import orjson

from server.adapters.codec import MAX_TIME_MS, DecodeError, decode_reactions, decode_users, encode_reactions
from server.domain.channels import ChannelName
from server.domain.drafts import NewMessage, Record
from server.domain.events import (
    Event,
    EventPublished,
    LogEvent,
    MessageCreated,
    MessageDeleted,
    MessageEdited,
    MessageErased,
    ReactionChanged,
    UnknownEvent,
)
from server.domain.identity import Author, UserId
from server.domain.limits import MAX_OFFSET
from server.domain.messages import AUTHOR_DIGEST_CHARS, Message, MessageId, Tombstone

_WORDS = 10
"""Before a message's HEAD."""

_KIND = re.compile(rb"[a-z]{1,64}")
"""Bounded, since the kind of an unknown event is kept in memory with it."""

_DAMAGE = (IndexError, TypeError, ValueError)
"""Raised by code that expects a sound entry."""


def encode_content(draft: NewMessage) -> bytes:
    """Return the CONTENT of a new message without its mentions: the script adds the words before it."""
    return _content(draft, ())


def encode_record(record: Record | EventPublished) -> bytes:
    """Return the JSON of an event of an application."""
    author = record.author
    return orjson.dumps([record.name, author.id, author.name, record.data, record.key])


def encode_entry(event: LogEvent) -> bytes:
    """Return the entry of an event, written when it was made."""
    match event:
        case MessageCreated() | MessageEdited():
            words = (event.message.offset, event.message.created_at, event.message.version)
            kind = b"c" if isinstance(event, MessageCreated) else b"e"
            message = event.message
            further = (message.mentions, encode_reactions(message.reactions))
            content = _content(message, further if any(further) else ())
            return b"%b %d %d %d %d %d 0 %b" % (kind, event.at, event.at, *words, content)
        case MessageDeleted():
            return b"d %d %d %b %b" % (event.at, event.at, event.id.encode(), encode_by(event.by))
        case MessageErased():
            was = "1" if event.edited else event.author or "0"
            return b"x %d %d %d %b %b" % (event.at, event.at, event.created_offset, was.encode(), event.id.encode())
        case ReactionChanged():
            reacted = orjson.dumps([event.id, encode_reactions(event.reactions)])
            return b"r %d %d %b" % (event.at, event.at, reacted)
        case EventPublished():
            return b"p %d %d %b" % (event.at, event.at, encode_record(event))


def encode_data(data: Any) -> bytes:
    """Return the JSON of an application's object; nothing for None."""
    return b"" if data is None else orjson.dumps(data)


def encode_by(moderator: Author | None) -> bytes:
    """Return the JSON of the moderator who made a change; nothing if the author did."""
    return b"" if moderator is None else orjson.dumps([moderator.id, moderator.name])


def decode_state(
    channel: ChannelName, id: MessageId, offset: int, packed: bytes, creation: bytes | None = None
) -> Message | Tombstone:
    """Return a message's current state. A tombstone's author is taken from what stands in the place of its creation.
    Raises `DecodeError`."""
    words = packed.split(b" ", _WORDS)
    try:
        match words[0]:
            case b"d":
                author = None if creation is None else _author_digest(creation.split(b" ", 5)[4])
                return Tombstone(id, channel, offset, _by(packed.split(b" ", 3)[3:]), author)
            case b"c" | b"e":
                return _message(channel, words)
            case _:
                raise DecodeError("a message's state is of an unknown kind")
    except DecodeError:
        raise
    except _DAMAGE as error:
        raise _damaged(error) from error


def decode_entry(channel: ChannelName, epoch: str, offset: int, packed: bytes) -> Event:
    """Return the event of a stream's entry. Raises `DecodeError`."""
    words = packed.split(b" ", _WORDS)
    try:
        at, _ = _time(words[1]), _time(words[2])
        match words[0]:
            case b"c":
                return MessageCreated(channel, epoch, offset, at, _message(channel, words))
            case b"e":
                return MessageEdited(channel, epoch, offset, at, _message(channel, words))
            case b"d":
                _, _, _, id, *by = packed.split(b" ", 4)
                return MessageDeleted(channel, epoch, offset, at, MessageId(id.decode()), _by(by))
            case b"x":
                _, _, _, created_offset, was, id = words
                place, author = _offset(created_offset), _author_digest(was)
                return MessageErased(channel, epoch, offset, at, MessageId(id.decode()), place, was == b"1", author)
            case b"r":
                id, reactions = orjson.loads(packed.split(b" ", 3)[3])
                return ReactionChanged(channel, epoch, offset, at, MessageId(_text(id)), decode_reactions(reactions))
            case b"p":
                name, user, user_name, data, key = orjson.loads(packed.split(b" ", 3)[3])
                publisher = _author(user, user_name)
                key = None if key is None else _text(key)
                return EventPublished(channel, epoch, offset, at, _text(name), publisher, data, key)
            case kind:
                if not _KIND.fullmatch(kind):
                    raise ValueError("the kind is no word")
                return UnknownEvent(channel, epoch, offset, at, kind.decode())
    except _DAMAGE as error:
        raise _damaged(error) from error


def _content(message: NewMessage | Message, further: tuple[Any, ...]) -> bytes:
    author = message.author
    head = orjson.dumps([message.id, author.id, author.name, message.reply_to, message.key, *further])
    data = encode_data(message.data)
    by = encode_by(message.edited_by) if isinstance(message, Message) else b""
    return b"%d %d %d %b%b%b%b" % (len(head), len(data), len(by), head, data, by, message.text.encode())


def _damaged(error: Exception) -> DecodeError:
    """Name the kind of the error only: its text may repeat a part of a message."""
    return DecodeError(f"not an entry of the log: {type(error).__name__}")


def _message(channel: ChannelName, words: list[bytes]) -> Message:
    kind, at, _, offset, created_at, version, _, head_bytes, data_bytes, by_bytes, content = words
    data_from = int(head_bytes)
    by_from = data_from + int(data_bytes)
    text_from = by_from + int(by_bytes)
    if not 0 <= data_from <= by_from <= text_from <= len(content):
        raise ValueError("the content is cut off")
    id, user, name, reply_to, key, *further = orjson.loads(content[:data_from])
    mentions, reactions = further or ((), ())
    data = orjson.loads(content[data_from:by_from] or b"null")
    if data is not None and not isinstance(data, dict):
        raise TypeError("the data is no object")
    return Message(
        id=MessageId(_text(id)),
        channel=channel,
        author=_author(user, name),
        text=content[text_from:].decode(),
        data=data,
        reply_to=None if reply_to is None else MessageId(_text(reply_to)),
        key=None if key is None else _text(key),
        created_at=_time(created_at),
        edited_at=_time(at) if kind == b"e" else None,
        version=_offset(version),
        offset=_offset(offset),
        edited_by=_by([content[by_from:text_from]]),
        mentions=decode_users(mentions) if mentions else (),
        reactions=decode_reactions(reactions) if reactions else (),
    )


def _by(packed: list[bytes]) -> Author | None:
    """Return the moderator. The list has the JSON, or nothing."""
    return _author(*orjson.loads(packed[0])) if packed and packed[0] else None


def _author_digest(was: bytes) -> str | None:
    return was.decode() if len(was) == AUTHOR_DIGEST_CHARS else None


def _author(user: object, name: object) -> Author:
    return Author(UserId(_text(user)), None if name is None else _text(name))


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("expected text")
    return value


def _time(word: bytes) -> int:
    return _bounded(word, MAX_TIME_MS)


def _offset(word: bytes) -> int:
    return _bounded(word, MAX_OFFSET)


def _bounded(word: bytes, most: int) -> int:
    number = int(word)
    if not 0 <= number <= most:
        raise ValueError("a number is out of range")
    return number
