"""What other processes may emit into a channel by a write-only `AsyncRedisManager`: unlogged events, judged first."""

import orjson

from server.domain.channels import ChannelName, channel_name
from server.domain.errors import BadRequest
from server.domain.limits import MAX_DATA_DEPTH
from server.domain.nesting import is_deeper
from server.domain.pushes import Emitted
from server.wire.words import NAMESPACE

MAX_BYTES = 64 * 1024
"""Of an emit; more is refused before it is parsed."""

MAX_EVENT_CHARS = 64

RESERVED = ("message:", "channel:", "session:", "presence:", "reaction:", "typing:", "read:", "connect", "disconnect")
"""Names that the protocol gives a meaning: an event from outside must not be taken for an event of the log."""


def foreign_emit(payload: bytes) -> tuple[ChannelName, Emitted] | None:
    """Return the channel and the event of a stock `emit` into a channel of `/chat`; None for anything else.

    The shape is python-socketio's: `{method: "emit", event, data: [...], namespace, room, binary, skip_sid, callback}`.
    """
    if len(payload) > MAX_BYTES:
        return None
    try:
        fields = orjson.loads(payload)
        if not isinstance(fields, dict) or fields.get("method") != "emit" or fields.get("namespace") != NAMESPACE:
            return None
        event, data, room = fields["event"], fields["data"], channel_name(fields["room"])
    except (KeyError, TypeError, ValueError, BadRequest):
        return None
    if fields.get("binary") or fields.get("callback") or not isinstance(data, list):
        return None
    if not isinstance(event, str) or len(event) > MAX_EVENT_CHARS or event.startswith(RESERVED):
        return None
    if is_deeper(data, MAX_DATA_DEPTH + 1):  # `data` is the list of arguments
        return None
    return room, Emitted(event, () if data == [None] else data)  # how the stock manager packs an event without data
