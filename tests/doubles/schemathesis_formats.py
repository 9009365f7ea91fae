"""Texts of the formats that the HTTP API's description names, for schemathesis: a loaded module is a hook."""

from datetime import UTC, datetime
from typing import Any

import schemathesis
from hypothesis import strategies as st

from server.domain.identity import MAX_NAME_CHARS, MAX_USER_CHARS
from server.domain.texts import is_breaking, is_visible

schemathesis.openapi.format(
    "user-id",
    st.text(min_size=1, max_size=MAX_USER_CHARS).filter(lambda text: not is_breaking(text) and is_visible(text)),
)
schemathesis.openapi.format("display-name", st.text(max_size=MAX_NAME_CHARS).filter(lambda text: not is_breaking(text)))
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
