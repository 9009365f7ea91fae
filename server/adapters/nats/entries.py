"""Entries of a channel's stream: an event with everything that is one step with it, or a change without an event.

Shape: a line of JSON, then the event as `codec` writes it, or nothing. The line has `k`, the entry's token; `w`, when
it was written, by the store's time; `e` and `o`, epoch and offset of the channel's head behind it; `s`, the offset at
which the epoch began; `r`, the bucket of the channel's rate; `m`, that the author's mark moves; `x`, a reaction as
`[message, emoji, user, added]`; `z`, the places that a deletion erases as `[offset, time, edited]`, with `n`, the
offset of the creation, and `u`, the digest of its author; `f`, the floor, of an entry that tells of dropped events.
"""

from collections.abc import Sequence
from dataclasses import field
from typing import Any

import orjson

from server.adapters.codec import DecodeError, decode_event, encode_event
from server.adapters.nats.pulling import Raw
from server.domain.channels import ChannelName
from server.domain.events import Event, EventPublished, LogEvent, MessageCreated, MessageDeleted, MessageErased
from server.domain.identity import UserId
from server.domain.messages import MessageId, Position
from server.domain.values import value

Reacts = tuple[MessageId, str, UserId, bool]
"""A message, an emoji, a user, and whether the reaction was added."""

Key = tuple[str, str, str]
"""Of a message (`m`) or a record (`p`), its author and its key."""


@value
class Entry:
    """An entry of the stream. `head` is the channel's last position behind it, `start` the offset behind which its
    epoch began. `erases`: of a deletion, the erased forms of the message's events. `floor`: events up to it are
    dropped."""

    token: str
    written: int
    head: Position
    start: int = 0
    earned: float = 0.0
    event: Event | None = None
    marks: bool = False
    reacts: Reacts | None = None
    erases: Sequence[MessageErased] = ()
    floor: int | None = None
    seq: int = field(default=0, compare=False)


def key_of(event: Event) -> Key | None:
    """Return the key that the event answers for, if it has one."""
    if isinstance(event, MessageCreated) and event.message.key is not None:
        return "m", event.message.author.id, event.message.key
    if isinstance(event, EventPublished) and event.key is not None:
        return "p", event.author.id, event.key
    return None


def encode(entry: Entry) -> bytes:
    """Return the bytes of an entry."""
    fields: dict[str, Any] = {
        "v": 1,
        "k": entry.token,
        "w": entry.written,
        "e": entry.head.epoch,
        "o": entry.head.offset,
    }
    if entry.start:
        fields["s"] = entry.start
    if entry.earned:
        fields["r"] = entry.earned
    if entry.marks:
        fields["m"] = 1
    if entry.reacts is not None:
        fields["x"] = entry.reacts
    if entry.floor is not None:
        fields["f"] = entry.floor
    if entry.erases:
        fields["n"], fields["u"] = entry.erases[0].created_offset, entry.erases[0].author
        fields["z"] = [[each.offset, each.at, each.edited] for each in entry.erases]
    event: Any = entry.event
    return orjson.dumps(fields) + b"\n" + (b"" if event is None else encode_event(_written(event)))


def _written(event: LogEvent) -> LogEvent:
    return event


def decode(raw: Raw, channel: ChannelName) -> Entry:
    """Return the entry of these bytes. Raises `DecodeError`."""
    line, _, body = raw.data.partition(b"\n")
    try:
        fields = orjson.loads(line)
        event = decode_event(body) if body else None
        head = Position(str(fields["e"]), int(fields["o"]))
        reacts = fields.get("x")
        return Entry(
            str(fields["k"]),
            int(fields["w"]),
            head,
            int(fields.get("s", 0)),
            float(fields.get("r", 0.0)),
            event,
            bool(fields.get("m")),
            None if reacts is None else (MessageId(reacts[0]), reacts[1], UserId(reacts[2]), bool(reacts[3])),
            _erased(fields, event, channel) if "z" in fields else (),
            fields.get("f"),
            raw.seq,
        )
    except DecodeError:
        raise
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise DecodeError(f"not an entry: {type(error).__name__}") from error


def _erased(fields: dict[str, Any], event: Event | None, channel: ChannelName) -> Sequence[MessageErased]:
    if not isinstance(event, MessageDeleted):
        raise DecodeError("only a deletion erases")
    return [
        MessageErased(channel, event.epoch, offset, at, event.id, fields["n"], edited, fields["u"])
        for offset, at, edited in fields["z"]
    ]
