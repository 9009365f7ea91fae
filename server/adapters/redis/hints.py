"""Hints as Redis carries them on the topic of a channel: EPOCH OFFSET ENTRY, with the entry of the log (entries.py).

The script that appends makes the same, in `hint_of` of append.lua.
"""

from server.adapters.codec import DecodeError
from server.adapters.redis.entries import decode_entry, encode_entry
from server.domain.channels import ChannelName
from server.domain.events import Event, MessageCreated, MessageEdited, MessageEvent
from server.domain.limits import MAX_DATA_DEPTH, MAX_EPOCH_CHARS, MAX_OFFSET
from server.domain.nesting import is_deeper

MAX_BYTES = 256 * 1024
"""Of a hint; the largest message takes less, however it is escaped."""


def encode_hint(event: MessageEvent) -> bytes:
    """Return the hint at an event."""
    return b"%b %d %b" % (event.epoch.encode(), event.offset, encode_entry(event))


def decode_hint(channel: ChannelName, payload: bytes) -> Event:
    """Return the event, if the payload may be an event of the channel: any process that can publish may have sent it.
    Raises `DecodeError`."""
    if len(payload) > MAX_BYTES:
        raise DecodeError("too long")
    try:
        epoch, offset, entry = payload.split(b" ", 2)
        event = decode_entry(channel, epoch.decode(), _offset(offset), entry)
    except ValueError as error:
        raise error if isinstance(error, DecodeError) else DecodeError("not a hint") from error
    if not 0 < len(epoch) <= MAX_EPOCH_CHARS:
        raise DecodeError("its epoch has no sensible length")
    if isinstance(event, MessageCreated | MessageEdited) and is_deeper(event.message.data, MAX_DATA_DEPTH):
        raise DecodeError("its data is nested too deep")
    return event


def _offset(word: bytes) -> int:
    offset = int(word)
    if not 0 <= offset <= MAX_OFFSET:
        raise DecodeError("its offset is out of range")
    return offset
