"""Hints as Redis carries them on the topic of a channel: EPOCH.SEAL OFFSET ENTRY, with the log's entry (entries.py).

SEAL is that of the topic and the hint without it (seal.py). The script that appends makes the same, in `hint_of` of
append.lua. Versions before it sent no seal, and take the word for another epoch: then they read the log.
"""

from server.adapters.codec import DecodeError
from server.adapters.redis.entries import decode_entry, encode_entry
from server.adapters.seal import SEAL_CHARS, Seal
from server.domain.channels import ChannelName
from server.domain.events import Event, LogEvent, MessageCreated, MessageEdited
from server.domain.limits import MAX_DATA_DEPTH, MAX_EPOCH_CHARS, MAX_OFFSET
from server.domain.nesting import is_deeper

MAX_BYTES = 256 * 1024
"""Of a hint; the largest message takes less, however it is escaped."""


def encode_hint(event: LogEvent) -> bytes:
    """Return the hint at an event, without a seal."""
    return b"%b %d %b" % (event.epoch.encode(), event.offset, encode_entry(event))


def sealed(hint: bytes, topic: str, seal: Seal) -> bytes:
    """Return the hint with its seal."""
    epoch, rest = hint.split(b" ", 1)
    return b"%b.%b %b" % (epoch, seal.of(topic.encode(), hint), rest)


def cut_seal(payload: bytes) -> tuple[bytes, bytes]:
    """Return the hint without its seal, and the seal; nothing if there is none."""
    end = payload.find(b" ")
    dot = end - SEAL_CHARS - 1
    if dot > 0 and payload[dot : dot + 1] == b".":
        return payload[:dot] + payload[end:], payload[dot + 1 : end]
    return payload, b""


def decode_hint(channel: ChannelName, payload: bytes) -> Event:
    """Return the event of a hint without its seal. Raises `DecodeError`: a newer version may have sealed it."""
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
