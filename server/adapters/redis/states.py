"""Messages as the scripts that read them answer."""

from collections.abc import Sequence
from typing import Any

from server.adapters.codec import DecodeError
from server.adapters.redis.entries import decode_state
from server.domain.channels import ChannelName
from server.domain.messages import Message, MessageId, Tombstone


def there(entry: bytes | None) -> bytes:
    """Return the entry. Raises `DecodeError` if somebody has cut it out."""
    if entry is None:
        raise DecodeError("an entry of the log is missing")
    return entry


def state_of(channel: ChannelName, found: Sequence[Any]) -> Message | Tombstone:
    """Return the message that message.lua has found. Raises `DecodeError`."""
    id, offset, packed, *creation = found
    return decode_state(channel, MessageId(id.decode()), int(offset), there(packed), *creation)
