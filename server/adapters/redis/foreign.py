"""What other processes may emit into a channel by a write-only `AsyncRedisManager`: unlogged events, judged first."""

from typing import Any

import orjson

from server.domain.channels import channel_name
from server.domain.errors import BadRequest

NAMESPACE = "/chat"
"""The one namespace into which other processes may emit."""

MAX_BYTES = 64 * 1024
"""Of an emit; more is refused before it is parsed."""

MAX_EVENT_CHARS = 64

MAX_DEPTH = 32
"""Of nested data, as for clients: parsers give up on deeper ones, and so does the encoder."""

RESERVED = ("message:", "channel:", "session:", "presence:", "reaction:", "typing:", "read:", "connect", "disconnect")
"""Names that the protocol gives a meaning: an event from outside the log must not be taken for one of the log."""


def foreign_emit(payload: bytes) -> tuple[str, Any, str] | None:
    """Return (event, data, channel) of a stock `emit` into one channel of `/chat`; None for anything else.

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
    if is_deeper(data, MAX_DEPTH + 1):
        return None
    return event, data[0] if len(data) == 1 else tuple(data), room


def is_deeper(value: object, levels: int) -> bool:
    """Say whether lists and objects stand in each other more than so many levels deep."""
    layer: list[object] = [value]
    for _ in range(levels):
        layer = [
            inner
            for outer in layer
            if isinstance(outer, list | dict)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not layer:
            return False
    return any(isinstance(inner, list | dict) for inner in layer)
