"""A document as the server has it."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Document:
    """A document. `place` is its sequence in the stream, by which a change says what it replaces; `at_ms` is when it
    was written, by the server's clock."""

    place: int
    parts: tuple[str, ...]
    data: bytes
    at_ms: int


def milliseconds(text: str) -> int:
    """Return the milliseconds of a time as the server writes it, to the nanosecond."""
    seconds, _, fraction = text.removesuffix("Z").partition(".")
    return round(datetime.fromisoformat(f"{seconds}+00:00").timestamp()) * 1_000 + int(f"{fraction:0<3.3}")
