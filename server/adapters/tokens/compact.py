"""The compact form of a signed token (RFC 7515, section 7.1): its parts, none of them believed yet.

`PyJWS` accepts the same tokens (a test compares the two), but looks at each of their characters in Python.
"""

import re
from functools import lru_cache
from typing import NamedTuple

import orjson

from server.adapters.tokens.claims import decode_base64url

MAX_CACHED_HEADERS = 64
"""Bound of the headers that are kept once they are read: an issuer writes the same header into every token."""

MALFORMED = "the token is malformed"

_SEGMENT = rb"([A-Za-z0-9_-]*={0,2})"
_COMPACT = re.compile(_SEGMENT + rb"\." + _SEGMENT + rb"\." + _SEGMENT)
_BEARER = b"bearer "


class Header(NamedTuple):
    """The part of a token's header that is looked at."""

    algorithm: object  # as it stands there: anything
    key_id: str | None  # any text; None if there is none


class Signed(NamedTuple):
    """A token in its parts."""

    header: Header
    text: bytes  # the part that is signed
    payload: bytes
    signature: bytes


def read(token: bytes) -> Signed | str:
    """Return the parts of a token, or the reason to refuse it, which holds nothing of it."""
    found = _COMPACT.fullmatch(token)
    if found is None:
        bearer = token[: len(_BEARER)].lower() == _BEARER
        return f'{MALFORMED}: send it without "Bearer "' if bearer else MALFORMED
    try:
        header = _header(found[1])
        if isinstance(header, str):
            return header
        return Signed(header, token[: found.end(2)], decode_base64url(found[2]), decode_base64url(found[3]))
    except (ValueError, RecursionError):
        return MALFORMED


@lru_cache(maxsize=MAX_CACHED_HEADERS)
def _header(written: bytes) -> Header | str:
    """Read a header; return it, or the reason to refuse it. Raises `ValueError` if it is no JSON."""
    header = orjson.loads(decode_base64url(written))
    if not isinstance(header, dict) or not isinstance(header.get("kid", ""), str):
        return MALFORMED
    if "crit" in header or "b64" in header:
        return "the token's header asks for an extension that is not supported"
    return Header(header.get("alg"), header.get("kid"))
