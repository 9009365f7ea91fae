"""Events as rows: a payload is encoded before its offset is known, and is read under the channel's epoch of now."""

from dataclasses import replace

from server.adapters.codec import decode_event, encode_event
from server.domain.events import Event, MessageCreated, MessageErased
from server.domain.messages import Position

NOWHERE = Position("", 0)
"""The place of messages that are encoded before they have any."""


def erased_payload(event: MessageErased) -> bytes:
    """Return the payload that stands in place of all edits of a message, or of its creation."""
    return encode_event(replace(event, epoch="", offset=0, at=0))


def placed(payload: bytes, epoch: str, offset: int, at: int) -> Event:
    """Return the event of a row. Raises `DecodeError`."""
    return moved(decode_event(payload), epoch, offset, at)


def moved(event: Event, epoch: str, offset: int, at: int) -> Event:
    """Return the event at another place."""
    if isinstance(event, MessageCreated):
        message = replace(event.message, offset=offset)
        return MessageCreated(event.channel, epoch, offset, at, message)
    return replace(event, epoch=epoch, offset=offset, at=at)
