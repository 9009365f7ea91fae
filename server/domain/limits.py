"""Limits of the protocol: sizes of a client's payload and its fields, and times (PROTOCOL.md, "Limits")."""

MAX_TEXT_CHARS = 4_000
"""PROTOCOL.md, "Commands": long enough for a letter, short enough for a frame."""

MAX_DATA_BYTES = 8 * 1024
"""Bytes of `data` as compact JSON."""

MAX_DATA_DEPTH = 32
"""Levels of `data`: deeper structures are hostile or a mistake, and burden every receiver's parser."""

MAX_KEY_CHARS = 64
"""Characters of an idempotency key: a UUID or a hash in hex fits."""

KEY_LIFETIME_MS = 24 * 3_600_000
"""How long a repeated idempotency key finds the first message: a client that was offline for a night can retry."""

MAX_ID_CHARS = 64
"""Characters of a message id in a command. The ids that the server gives have 36."""

MAX_EPOCH_CHARS = 64
"""Characters of an epoch in a position."""

MAX_OFFSET = 2**53 - 1
"""The largest whole number that JavaScript clients hold exactly."""

MAX_TOKEN_CHARS = 16 * 1024
"""Characters of a JWT: some hundred grants fit. A longer token is not parsed."""

MAX_TOKEN_ID_CHARS = 128
"""Characters of a token's id (`jti`)."""

MAX_RESUME_CHANNELS = 500
"""Positions in a CONNECT payload."""

MAX_JOIN_HISTORY = 100
"""Events that `channel:join` can ask for without a position."""

MAX_PAGE = 100
"""Messages in a page of `history:read`."""

DEFAULT_PAGE = 50
"""Messages in a page if the command names no limit."""

MAX_PAYLOAD = 65_536
"""Bytes of a WebSocket message from a client; announced as `maxPayload`."""

MAX_HEADER_BYTES = 16 * 1024
"""Bytes of a line of an HTTP request: a large token or a large cookie fits. nginx-sticky has the same bound."""

TYPING_MS = 3_000
"""A user's typing is told to a channel at most once in so many milliseconds."""

TYPING_EXPIRES_MS = 8_000
"""A client takes a user's typing to be over if it hears nothing more for so many milliseconds."""
