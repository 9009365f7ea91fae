"""Render the fields of a log line as JSON, or as text for people.

A JSON line is a single object: `ts`, `level`, `event`, then the fields. No value can forge a second line.
"""

import json
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache

import orjson
from structlog.typing import EventDict, WrappedLogger

Render = Callable[[WrappedLogger, str, EventDict], str]

# Characters that end a line, move a terminal's cursor or turn the direction of writing; and lone surrogates.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_BARE = re.compile(r"[^\s\"'=\\]+")
_COLOURS = {"debug": 36, "info": 32, "warning": 33, "error": 31, "critical": 31}


def timestamp() -> str:
    """Return the time in UTC as RFC 3339 writes it, with milliseconds."""
    return timestamp_at(time.time_ns() // 1_000_000)


# Both caches serve the lines of a single moment: the current value, and the value before it.
@lru_cache(maxsize=2)
def timestamp_at(unix_ms: int) -> str:
    """Return a time, in milliseconds since 1970, as `timestamp` does."""
    return f"{_second(unix_ms // 1000)}.{unix_ms % 1000:03d}Z"


@lru_cache(maxsize=2)
def _second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def render_json(_: WrappedLogger, __: str, fields: EventDict) -> str:
    """Render the fields as a JSON object on a single line."""
    return to_json({"ts": timestamp(), "level": fields.pop("level"), "event": fields.pop("event"), **fields})


def to_json(value: object) -> str:
    """Encode a value as JSON on a single line, with no character that a terminal or a log reader would act upon."""
    try:
        text = orjson.dumps(value).decode()
    except TypeError:  # a lone surrogate, which UTF-8 can't encode
        text = json.dumps(value)
    return text if text.isascii() and "\x7f" not in text else _UNSAFE.sub(_escaped, text)


def render_console(*, colours: bool) -> Render:
    """Make a renderer for people: time, level, event and fields on a single line, tracebacks indented under it."""

    def render(_: WrappedLogger, __: str, fields: EventDict) -> str:
        level = fields.pop("level")
        head = f"{timestamp()[11:23]} {_painted(level) if colours else f'{level:<7}'} {_safe(fields.pop('event'))}"
        blocks = [_indented(fields.pop(key)) for key in ("stack", "exception") if key in fields]
        return " ".join([head, *(f"{_safe(key)}={_quoted(value)}" for key, value in fields.items())]) + "".join(blocks)

    return render


def _painted(level: str) -> str:
    return f"\x1b[{_COLOURS.get(level, 0)}m{level:<7}\x1b[0m"


def _quoted(value: object) -> str:
    if isinstance(value, str) and _BARE.fullmatch(value):
        return _safe(value)
    return _safe(json.dumps(value, ensure_ascii=False))


def _indented(text: str) -> str:
    """Indent a traceback, so that none of its lines passes for another event."""
    return "".join(f"\n    {_safe(line)}" for line in text.split("\n"))


def _safe(value: object) -> str:
    return _UNSAFE.sub(_escaped, str(value))


def _escaped(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"
