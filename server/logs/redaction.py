"""Mask credentials in the fields of a log line, and bound the size of every value.

Redaction is the last line of defence: code that logs leaves payloads and tokens out.
"""

import re
from collections.abc import Collection, Mapping
from functools import lru_cache
from itertools import islice, pairwise
from typing import Any
from urllib.parse import unquote

from structlog.typing import EventDict, WrappedLogger

REDACTED = "[redacted]"

MAX_VALUE_CHARS = 8 * 1024
"""Of one text in a line; a longer one keeps its two ends, where a traceback says what and where."""

SHORT_CHARS = 128
"""Up to this length it is remembered what became of a text in a line."""

MAX_ITEMS = 100
"""Of one mapping or list in a line."""

MAX_DEPTH = 5
"""Of mappings and lists within each other."""

MAX_INT = 2**63

_PRIVATE_KEY = re.compile(
    r"token|secret|passw|credential|cookie|authorization|(?:^|[_-])(?:auth|query|jwt|bearer|api[_-]?keys?)(?:$|[_-])",
    re.IGNORECASE,
)

# Every run is taken once, from its start: text made to be slow (`eyeyey...`) costs no more than other text.
_DOTTED = re.compile(r"(?<![\w=-])[\w=-]++(?:(?:\.|%2E)[\w=-]*+)+", re.ASCII | re.IGNORECASE)
_DOT = re.compile(r"\.|%2E", re.IGNORECASE)
_QUERY = re.compile(r"\?[\w%.~\[\]-]{1,64}=[^\s\"'<>]*")
_BEARER = re.compile(r"(bearer)\s+[^\s\"',]+", re.IGNORECASE)

_MIN_HEADER_CHARS = 12
"""Of a token's first part: no JOSE header is shorter."""


def redact(_: WrappedLogger, __: str, fields: EventDict) -> EventDict:
    """Mask fields with private names, and whatever looks like a token in any text; bound every value."""
    cleaned: EventDict = {}
    for key, value in fields.items():
        if _is_private(key):
            cleaned[key] = REDACTED
        elif type(value) is str and len(value) <= SHORT_CHARS:
            cleaned[key] = _short(value)  # as `clean` does, without a call: most values are
        else:
            cleaned[key] = clean(value, 0)
    return cleaned


@lru_cache(maxsize=1_024)
def _is_private(key: str) -> bool:
    return _PRIVATE_KEY.search(key) is not None


def clean(value: object, depth: int) -> object:
    """Redact and bound one value that stands `depth` mappings and lists deep in its field."""
    kind = type(value)
    if kind is str:
        # `kind is str` says that it is text, faster than isinstance.
        return _short(value) if len(value) <= SHORT_CHARS else _text(value)  # type: ignore[arg-type]
    if value is None or kind is bool or kind is float:
        return value
    if kind is int:
        return value if -MAX_INT <= value < MAX_INT else _text(hex(value))  # type: ignore[operator,arg-type] # as above
    if isinstance(value, bytes | bytearray):
        return _text(value.decode("utf-8", "backslashreplace"))
    if isinstance(value, Mapping | list | tuple | set | frozenset):
        return "…" if depth >= MAX_DEPTH else _nested(value, depth + 1)
    return _text(str(value))


def _nested(value: Mapping[Any, Any] | Collection[Any], depth: int) -> object:
    if isinstance(value, Mapping):
        return _mapping(value, depth)
    return [clean(item, depth) for item in islice(value, MAX_ITEMS)]


def _mapping(value: Mapping[Any, Any], depth: int) -> dict[str, object]:
    names = ((_text(str(key)), item) for key, item in islice(value.items(), MAX_ITEMS))
    return {name: REDACTED if _is_private(name) else clean(item, depth) for name, item in names}


@lru_cache(maxsize=8_192)
def _short(text: str) -> str:
    """As `_text`: names, users and channels come again and again."""
    return _text(text)


def _text(text: str) -> str:
    """The text without credentials, cut to size."""
    if ("ey" in text or "ew" in text) and ("." in text or "%" in text):
        text = _DOTTED.sub(_mask, text)
    if "%" in text and _holds_token(unquote(unquote(text))):
        return REDACTED
    if "?" in text:
        text = _QUERY.sub(f"?{REDACTED}", text)
    if "earer" in text or "EARER" in text:
        text = _BEARER.sub(rf"\1 {REDACTED}", text)
    if len(text) > MAX_VALUE_CHARS:
        end = MAX_VALUE_CHARS // 2
        text = f"{text[:end]}…[{len(text) - 2 * end} characters cut]…{text[-end:]}"
    return text


def _mask(found: re.Match[str]) -> str:
    return REDACTED if _is_token(found[0]) else found[0]


def _holds_token(text: str) -> bool:
    return any(_is_token(found[0]) for found in _DOTTED.finditer(text))


def _is_token(run: str) -> bool:
    """Whether one part ends with what may be a JOSE header, and claims follow: both are JSON objects in Base64, so
    they begin with `ey` (`{"`, `{ `) or `ew` (`{` and a line break). The signature may be missing."""
    return any(
        len(header) >= _MIN_HEADER_CHARS and ("ey" in header or "ew" in header) and claims.startswith(("ey", "ew"))
        for header, claims in pairwise(_DOT.split(run))
    )
