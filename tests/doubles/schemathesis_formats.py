"""Texts of the formats that the HTTP API's description names, for schemathesis: a loaded module is a hook."""

from datetime import UTC, datetime
from functools import partial
from typing import Any
from unicodedata import normalize

import schemathesis
from hypothesis import strategies as st

from server.domain.identity import MAX_NAME_CHARS, MAX_USER_CHARS
from server.domain.texts import is_visible

# Made of sound characters: texts of any, most of which are filtered out, would take most of the time.
SOUND = st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs"))

schemathesis.openapi.format(
    "user-id", st.text(SOUND, min_size=1, max_size=MAX_USER_CHARS).map(partial(normalize, "NFC")).filter(is_visible)
)
schemathesis.openapi.format("display-name", st.text(SOUND, max_size=MAX_NAME_CHARS))
schemathesis.openapi.format("channel-name", st.sampled_from(["room:1", "room:2", "dm:a:b", "Room:1", "room/1", ""]))
"""A thousand of them, drawn character by character, would take most of the time."""

schemathesis.openapi.format(
    "date-time", st.integers(0, 1_700_000_000).map(lambda at: datetime.fromtimestamp(at, UTC).isoformat())
)
"""The past: a revocation of the future is refused, which no schema can say."""


@schemathesis.hook
def map_body(context: object, body: Any) -> Any:
    """Move a time in the future to the past, as above."""
    at = body.get("issued_before") if isinstance(body, dict) else None
    future = isinstance(at, int | float) and not isinstance(at, bool) and at > 1_700_000_000
    return body | {"issued_before": 1_700_000_000} if future else body
