"""Drafts as the words of append.lua, and its answers as outcomes."""

from typing import Any

from redis.exceptions import RedisError

from server.adapters.codec import DecodeError, known
from server.adapters.redis import keys
from server.adapters.redis.entries import decode_entry, encode_by, encode_content, encode_data
from server.adapters.redis.sent import created_at, digest, id_bytes
from server.domain.appending import Appended, already_deleted, created, id_taken, not_found, recreated, too_many_events
from server.domain.drafts import Deletion, Draft, NewMessage, Revision
from server.domain.errors import MaruError, Unavailable
from server.domain.events import MessageEvent
from server.domain.messages import MessageId, Position

Words = tuple[str | int | bytes, ...]

Outcome = Appended | MaruError


def words(draft: Draft) -> tuple[str, Words, int]:
    """Return the kind of a draft, its words, and about how many bytes they are."""
    match draft:
        case NewMessage():
            content, key = encode_content(draft), digest(draft)
            sent = key and key + id_bytes(draft.id)
            return "c", (draft.at, draft.id, content, sent, keys.author(draft.author.id)), len(content)
        case Revision():
            text, data = draft.text.encode(), encode_data(draft.data)
            keep = "1" if draft.keep_data else ""
            return "e", (draft.at, draft.id, text, data, keep, encode_by(draft.by)), len(text) + len(data)
        case Deletion():
            return "d", (draft.at, draft.id, encode_by(draft.by)), 0


def outcome(draft: Draft, epoch: str, answer: Any, hinted: bool) -> Outcome:
    """Return what the answer to a draft means. Raises `DecodeError`."""
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
        case b"limited":
            return too_many_events(float(answer[1]) / 1_000)
        case b"not_found":
            return not_found()
        case b"conflict":
            return id_taken() if isinstance(draft, NewMessage) else already_deleted()
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
