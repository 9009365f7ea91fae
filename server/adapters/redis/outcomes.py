"""Drafts as the words of append.lua, and its answers as outcomes."""

from dataclasses import replace
from typing import Any

import orjson
from redis.exceptions import RedisError

from server.adapters.codec import DecodeError, known
from server.adapters.redis import keys
from server.adapters.redis.entries import decode_entry, encode_by, encode_content, encode_data, encode_record
from server.adapters.redis.sent import created_at, digest, id_bytes, record_digest, time_bytes, time_of
from server.domain.appending import (
    Appended,
    Settled,
    already_deleted,
    created,
    id_taken,
    not_found,
    published,
    recreated,
    too_many_events,
)
from server.domain.drafts import Deletion, Draft, NewMessage, Reaction, Record, Revision
from server.domain.errors import MaruError, Unavailable
from server.domain.events import EventPublished, MessageEvent, ReactionChanged
from server.domain.messages import MessageId, Position
from server.domain.tallies import react_to_deleted, too_many_emojis, too_many_reactors
from server.ports.records import Recorded

Words = tuple[str | int | bytes, ...]

Change = Draft | Reaction | Record

OTHERS = "rp"
"""The kinds of changes that are no drafts."""

Outcome = Appended | Settled | Recorded | MaruError
"""`Settled` for a reaction, `Recorded` for an event of an application, `Appended` for a draft."""


def words(draft: Change) -> tuple[str, Words, int]:
    """Return the kind of a draft, its words, and about how many bytes they are."""
    match draft:
        case NewMessage():
            content, key = encode_content(draft), digest(draft)
            sent = key and key + id_bytes(draft.id)
            flags = b"1" if draft.marks else b"0"
            if draft.mentions:
                flags += orjson.dumps(draft.mentions)
            return "c", (draft.at, draft.id, content, sent, keys.author(draft.author.id), flags), len(content)
        case Revision():
            text, data = draft.text.encode(), encode_data(draft.data)
            keep = "1" if draft.keep_data else ""
            return "e", (draft.at, draft.id, text, data, keep, encode_by(draft.by)), len(text) + len(data)
        case Deletion():
            return "d", (draft.at, draft.id, encode_by(draft.by)), 0
        case Reaction():
            emoji, user = orjson.dumps(draft.emoji), orjson.dumps(draft.user)
            return "r", (draft.at, draft.id, emoji, user, "1" if draft.add else ""), 0
        case Record():
            content, key = encode_record(draft), record_digest(draft)
            sent = key and key + time_bytes(draft.at)
            return "p", (draft.at, draft.name, content, sent, orjson.dumps(draft.key)), len(content)


def outcome(draft: Change, epoch: str, answer: Any, hinted: bool) -> Outcome:
    """Return what the answer to a draft means. Raises `DecodeError`."""
    match draft:
        case Reaction():
            return _settled(draft, epoch, answer, hinted)
        case Record():
            return _recorded(draft, epoch, answer, hinted)
        case _:
            return _appended(draft, epoch, answer, hinted)


def _appended(draft: Draft, epoch: str, answer: Any, hinted: bool) -> Outcome:
    if isinstance(answer, int):
        if not isinstance(draft, NewMessage):
            raise DecodeError("the answer to a change has no entry")
        return Appended(created(draft, Position(epoch, answer)), False, hinted)
    match answer[0]:
        case b"ok":
            _, offset, entry = answer
            return Appended(known(decode_entry(draft.channel, epoch, int(offset), entry)), False, hinted)
        case b"duplicate":
            return Appended(_first(draft, epoch, answer), True, hinted)
        case b"conflict":
            return id_taken() if isinstance(draft, NewMessage) else already_deleted()
        case _:
            return _refused(answer)


def _settled(draft: Reaction, epoch: str, answer: Any, hinted: bool) -> Outcome:
    match answer[0]:
        case b"ok":
            _, offset, entry = answer
            event = decode_entry(draft.channel, epoch, int(offset), entry)
            if not isinstance(event, ReactionChanged):
                raise DecodeError("the answer to a reaction is another event")
            return Settled(Position(epoch, int(offset)), event, False, hinted)
        case b"silent" | b"same":
            return Settled(Position(epoch, int(answer[1])), None, answer[0] == b"same")
        case b"conflict":
            reasons = {b"deleted": react_to_deleted, b"emojis": too_many_emojis, b"reactors": too_many_reactors}
            return reasons[answer[1]]()
        case _:
            return _refused(answer)


def _recorded(draft: Record, epoch: str, answer: Any, hinted: bool) -> Outcome:
    if answer[0] not in {b"ok", b"duplicate"}:
        return _refused(answer)
    offset, entry = int(answer[1]), answer[-1]
    if entry is None:
        # The event is no longer kept: its time stands beside its key, and the content of the repeat is the same.
        event = published(replace(draft, at=time_of(answer[2])), Position(epoch, offset))
        return Recorded(event, True)
    found = decode_entry(draft.channel, epoch, offset, entry)
    if not isinstance(found, EventPublished):
        raise DecodeError("the answer to an event of an application is another event")
    return Recorded(found, answer[0] == b"duplicate", hinted)


def _refused(answer: Any) -> MaruError:
    match answer[0]:
        case b"limited":
            return too_many_events(float(answer[1]) / 1_000)
        case b"not_found":
            return not_found()
        case _:
            return Unavailable(f"Redis refuses ({answer[1].split(b' ', 1)[0].decode(errors='replace')})")


def refusal(error: RedisError) -> Unavailable:
    """Return the refusal of all drafts of a call."""
    refused = Unavailable(f"Redis refuses ({type(error).__name__})")
    refused.__cause__ = error
    return refused


def _first(draft: Draft, epoch: str, answer: Any) -> MessageEvent:
    """Return the event that an earlier draft has become. It is rebuilt if the log no longer keeps it."""
    _, offset, id, entry = answer
    if entry is not None:
        return known(decode_entry(draft.channel, epoch, int(offset), entry))
    if not isinstance(draft, NewMessage):
        raise DecodeError("the answer to a change has no entry")
    first = MessageId(id.decode())
    return recreated(draft, first, created_at(first), Position(epoch, int(offset)))
