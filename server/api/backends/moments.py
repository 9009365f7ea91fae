"""Times in requests: RFC 3339, or seconds since 1970."""

from datetime import datetime
from typing import Annotated

from pydantic import BeforeValidator, WithJsonSchema

MAX_CHARS = 40
"""Bound of a time as text."""

YEAR_10000_S = 253_402_300_800
"""The first second that RFC 3339 can't write."""

_SEPARATORS = "Tt "
"""Between date and time (RFC 3339, section 5.6)."""

_NONE = -1.0


def moment(value: object) -> int:
    """Return a time in milliseconds since 1970. Raises `ValueError`."""
    if isinstance(value, str):
        seconds = _seconds(value)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        seconds = value
    else:
        seconds = _NONE
    if not 0 <= seconds < YEAR_10000_S:  # so is what is no number
        raise ValueError("expected RFC 3339, such as 2026-11-29T12:00:00Z, or seconds since 1970")
    return int(seconds * 1_000)


def _seconds(text: str) -> float:
    if len(text) > MAX_CHARS or text[10:11] not in tuple(_SEPARATORS):
        return _NONE
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return _NONE
    return _NONE if found.tzinfo is None else found.timestamp()


def _described(**bounds: int) -> WithJsonSchema:
    return WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "format": "date-time"},
                {"type": "number", "minimum": 0, **bounds},
            ],
            "examples": ["2025-11-29T12:00:00Z", 1_764_000_000],
        }
    )


Moment = Annotated[int, BeforeValidator(moment), _described()]
"""A time of the past: its operation says how late it may be."""

AnyMoment = Annotated[int, BeforeValidator(moment), _described(exclusiveMaximum=YEAR_10000_S)]
"""A time of the past or the future."""
