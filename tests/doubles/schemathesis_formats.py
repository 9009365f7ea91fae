"""Texts of the formats that the HTTP API's description names, for schemathesis: a loaded module is a hook."""

import schemathesis
from hypothesis import strategies as st

from server.domain.identity import MAX_NAME_CHARS, MAX_USER_CHARS
from server.domain.texts import is_breaking, is_visible

schemathesis.openapi.format(
    "user-id",
    st.text(min_size=1, max_size=MAX_USER_CHARS).filter(lambda text: not is_breaking(text) and is_visible(text)),
)
schemathesis.openapi.format("display-name", st.text(max_size=MAX_NAME_CHARS).filter(lambda text: not is_breaking(text)))
