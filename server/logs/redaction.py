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
"""Bound of a text. A longer text keeps both ends: a traceback ends with the error."""

CACHED_CHARS = 128
"""Redaction results are cached for texts up to this length."""

MAX_ITEMS = 100
"""Bound of a mapping or list."""

MAX_DEPTH = 5
"""Bound of mappings and lists within each other."""

MAX_INT = 2**63
"""orjson encodes integers of 64 bits; larger ones are written as text."""

_PRIVATE_KEY = re.compile(
    r"token|secret|passw|credential|cookie|authorization|(?:^|[_-])(?:auth|query|jwt|bearer|api[_-]?keys?)(?:$|[_-])",
    re.IGNORECASE,
)
# The possessive quantifiers match each run once, from its start: a text that is made to be slow (`eyeyey...`) costs no
# more than any other.
_DOTTED = re.compile(r"(?<![\w=-])[\w=-]++(?:(?:\.|%2E)[\w=-]*+)+", re.ASCII | re.IGNORECASE)
_DOT = re.compile(r"\.|%2E", re.IGNORECASE)
_QUERY = re.compile(r"\?[\w%.~\[\]-]{1,64}=[^\s\"'<>]*")
_BEARER = re.compile(r"(bearer)\s+[^\s\"',]+", re.IGNORECASE)

_MIN_HEADER_CHARS = 12
"""Of the first part of a token: every JOSE header is longer."""


def redact(_: WrappedLogger, __: str, fields: EventDict) -> EventDict:
    """Mask every field with a private name, and every token within a text. Bound every value.

    A structlog processor; it returns new fields.
    """
    cleaned: EventDict = {}
    for key, value in fields.items():
        if _is_private(key):
            cleaned[key] = REDACTED
        elif type(value) is str and len(value) <= CACHED_CHARS:
            cleaned[key] = _clean_short_text(value)  # as `clean` does, with a call less: most values are short texts
        else:
            cleaned[key] = clean(value, 0)
    return cleaned


@lru_cache(maxsize=1_024)
def _is_private(key: str) -> bool:
    return _PRIVATE_KEY.search(key) is not None


def clean(value: object, depth: int) -> object:
    """Redact and bound a single value that stands `depth` mappings and lists deep in its field."""
    kind = type(value)
    if kind is str:
        # mypy does not narrow by `kind is str`, which is faster than isinstance.
        return _clean_short_text(value) if len(value) <= CACHED_CHARS else _clean_text(value)  # type: ignore[arg-type]
    if value is None or kind is bool or kind is float:
        return value
    if kind is int:
        return value if -MAX_INT <= value < MAX_INT else _clean_text(hex(value))  # type: ignore[operator,arg-type]
    if isinstance(value, bytes | bytearray):
        return _clean_text(value.decode("utf-8", "backslashreplace"))
    if isinstance(value, Mapping | list | tuple | set | frozenset):
        return "…" if depth >= MAX_DEPTH else _clean_nested(value, depth + 1)
    return _clean_text(str(value))


def _clean_nested(value: Mapping[Any, Any] | Collection[Any], depth: int) -> object:
    if isinstance(value, Mapping):
        return _clean_mapping(value, depth)
    return [clean(item, depth) for item in islice(value, MAX_ITEMS)]


def _clean_mapping(value: Mapping[Any, Any], depth: int) -> dict[str, object]:
    names = ((_clean_text(str(key)), item) for key, item in islice(value.items(), MAX_ITEMS))
    return {name: REDACTED if _is_private(name) else clean(item, depth) for name, item in names}


@lru_cache(maxsize=8_192)
def _clean_short_text(text: str) -> str:
    """Cache `_clean_text`: the same names, users and channels stand in many lines."""
    return _clean_text(text)


def _clean_text(text: str) -> str:
    """Return the text without credentials, cut to size."""
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
    """Return whether a dotted run holds a JOSE header with claims behind it. The signature may be missing.

    Header and claims are JSON objects in Base64: they begin with `ey` (`{"`, `{ `) or `ew` (`{` and a line break).
    """
    return any(
        len(header) >= _MIN_HEADER_CHARS and ("ey" in header or "ew" in header) and claims.startswith(("ey", "ew"))
        for header, claims in pairwise(_DOT.split(run))
    )
