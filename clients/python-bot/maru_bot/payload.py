"""Payloads as JSON, and the check of a command's payload before it is sent."""

import json

from maru_bot.errors import MaruError
from maru_bot.events import Json

PAYLOAD_BYTES = 65_536 - 64
"""A command's JSON: the server takes frames of 65,536 bytes, and closes the connection over more. 64 are framing."""


class StrictJson:
    """JSON in UTF-8 instead of `\\uXXXX`, which takes up to twice the bytes; NaN is refused, as it is no JSON."""

    @staticmethod
    def dumps(value: object, **_: object) -> str:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))

    loads = staticmethod(json.loads)


def present(payload: Json) -> Json:
    """Return a payload without the fields that are None."""
    return {field: value for field, value in payload.items() if value is not None}


def check(name: str, body: Json) -> None:
    """Raise `bad_request` or `payload_too_large` for a command that would cost the connection."""
    try:
        size = len(StrictJson.dumps([name, body]).encode())
    except (TypeError, ValueError, RecursionError) as cause:
        raise MaruError("bad_request", f"{name}: the payload is no JSON in UTF-8 ({cause})") from cause
    if size > PAYLOAD_BYTES:
        raise MaruError("payload_too_large", f"{name}: {size} bytes, the server takes {PAYLOAD_BYTES}")
