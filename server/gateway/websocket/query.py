"""The check of a handshake's query string: the protocol's arguments, and nothing like a token.

A URL with a token in it is refused, whatever the token's name and encoding: every proxy would log it.
"""

import re

from aiohttp.http import RawRequestMessage

from server.gateway.websocket import refusals
from server.gateway.websocket.refusals import Refused

MAX_QUERY_CHARS = 1_024
"""Length of a query string, as it is in the URL. A longer one is not parsed; clients send under 100."""

_TOKEN_NAMES = frozenset(
    (
        "token",
        "access_token",
        "id_token",
        "refresh_token",
        "auth",
        "authorization",
        "bearer",
        "jwt",
        "api_key",
        "apikey",
    )
)
# A JWT begins with `eyJ`, in just that case: the Base64url of `{"`. Only the beginning of a run of such characters is
# looked at (`heyJude.example` is a name), and every run is read once: text made to be slow (`eyJeyJ...`) costs no more
# than other text. The dot may be encoded twice.
_JWT = re.compile(r"(?<![\w-])eyJ[\w-]++(?:\.|%2[Ee])[\w-]")
_TOKEN_NAME = re.compile(rf"(?:^|&)(?:{'|'.join(sorted(_TOKEN_NAMES))})(?:[=&]|$)", re.IGNORECASE)


def fault(request: RawRequestMessage) -> Refused | None:
    """Check the query string of a handshake. Returns None if nothing is wrong with it."""
    return _length(request.url.raw_query_string) or _token(request) or _revision(request)


def _length(query: str) -> Refused | None:
    if len(query) <= MAX_QUERY_CHARS:
        return None
    if _TOKEN_NAME.search(query) or _JWT.search(query):
        return refusals.token_in_query()
    arguments = query.split("&")
    if "transport=websocket" not in arguments:
        return refusals.unknown_transport()
    if "EIO=4" not in arguments:
        return refusals.other_revision()
    return refusals.long_query(MAX_QUERY_CHARS)


def _token(request: RawRequestMessage) -> Refused | None:
    for name, value in request.url.query.items():
        if name.lower() in _TOKEN_NAMES or _JWT.search(value) or _JWT.search(name):
            return refusals.token_in_query()
    return None


def _revision(request: RawRequestMessage) -> Refused | None:
    query = request.url.query
    if query.get("transport") != "websocket":
        return refusals.unknown_transport()
    if query.get("EIO") != "4":
        return refusals.other_revision()
    return refusals.unknown_sid() if "sid" in query else None
