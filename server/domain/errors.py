"""Every failure that a client can be told of: a closed table, and a tree.

A class is a row of the table. `code` is sent to the client, `retryable` says whether the same command may succeed later
unchanged, `status` is the code's status in HTTP, `meaning` and `remedy` are the sentences of PROTOCOL.md (a test
compares them).

    MaruError
    ├── BadRequest            bad_request
    ├── UnknownCommand        unknown_event
    ├── UnknownNamespace      unknown_namespace
    ├── Unauthenticated       unauthenticated
    │   ├── TokenExpired      token_expired
    │   ├── TokenRevoked      token_revoked
    │   └── TokenInQuery      token_in_query
    ├── PermissionDenied      permission_denied
    ├── NotJoined             not_joined
    ├── NotFound              not_found
    ├── Conflict              conflict
    ├── PayloadTooLarge       payload_too_large
    ├── TooManyChannels       too_many_channels
    ├── RateLimited           rate_limited
    ├── Unavailable           unavailable
    ├── Overloaded            overloaded
    └── Internal              internal
"""

from collections.abc import Mapping
from typing import ClassVar, Self

from server.domain.gcra import whole_ms


class MaruError(Exception):
    """A failure with a code of the closed table; `str(error)` is safe to show to the client."""

    code: ClassVar[str]
    retryable: ClassVar[bool] = False
    status: ClassVar[int] = 400
    meaning: ClassVar[str]
    remedy: ClassVar[str]

    def __init__(
        self,
        message: str,
        *,
        details: Mapping[str, object] | None = None,
        retry_after_ms: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.details = details
        self.retry_after_ms = retry_after_ms


class BadRequest(MaruError):
    code = "bad_request"
    meaning = "The command or payload breaks the protocol; `details` names the field."
    remedy = "Correct the request; do not send it again as it is."


class UnknownCommand(MaruError):
    code = "unknown_event"
    meaning = "The server has no command of this name."
    remedy = "Correct the event name, or update the server."


class UnknownNamespace(MaruError):
    code = "unknown_namespace"
    meaning = "CONNECT named a namespace other than `/chat`."
    remedy = "Connect to `/chat`."


class Unauthenticated(MaruError):
    code = "unauthenticated"
    status = 401
    meaning = "The token is missing, malformed, wrongly signed, or not meant for this server."
    remedy = "Get a new token, then connect again."


class TokenExpired(Unauthenticated):
    code = "token_expired"
    meaning = "The token's `exp` has passed."
    remedy = "Get a new token, then connect again (or `auth:refresh` before it happens)."


class TokenRevoked(Unauthenticated):
    code = "token_revoked"
    meaning = "The token or its user has been revoked."
    remedy = "Sign the user in again."


class TokenInQuery(Unauthenticated):
    code = "token_in_query"
    status = 400
    meaning = "The handshake URL carries a token; URLs end up in logs, so it is refused."
    remedy = "Move the token to the CONNECT payload (`auth`), and replace it: it may have been logged."


class PermissionDenied(MaruError):
    code = "permission_denied"
    status = 403
    meaning = (
        "The token's grants do not allow this action in this channel, a backend has removed the user from it, or a "
        "hook refuses it."
    )
    remedy = "Do not retry; ask for the grant, then `auth:refresh`. Show `details.reason`, if it is there."


class NotJoined(MaruError):
    code = "not_joined"
    status = 409
    meaning = "The command needs the channel joined, and this session has not joined it."
    remedy = "`channel:join` first."


class NotFound(MaruError):
    code = "not_found"
    status = 404
    meaning = "The message does not exist, or is older than the channel's retention."
    remedy = "Drop it from the page; do not retry."


class Conflict(MaruError):
    code = "conflict"
    status = 409
    meaning = "The message's present state rules the command out, e.g. editing a deleted message."
    remedy = "Read the present state (`history:read`), then decide."


class PayloadTooLarge(MaruError):
    code = "payload_too_large"
    status = 413
    meaning = "`data` or the frame is over its limit in bytes."
    remedy = "Send less, e.g. a link in place of the content."


class TooManyChannels(MaruError):
    code = "too_many_channels"
    status = 409
    meaning = "The session has joined as many channels as one session may."
    remedy = "`channel:leave` one first."


class RateLimited(MaruError):
    code = "rate_limited"
    retryable = True
    status = 429
    meaning = "Too many commands in too short a time."
    remedy = "Wait `retry_after_ms`, then send the same command with the same key."

    @classmethod
    def by(cls, scope: str, wait_s: float, message: str) -> Self:
        """Return the refusal by a limit: a bucket, or another rate."""
        return cls(message, details={"limit": scope}, retry_after_ms=whole_ms(wait_s))

    @property
    def scope(self) -> str:
        """The name of the limit."""
        return str((self.details or {}).get("limit"))


class Unavailable(MaruError):
    code = "unavailable"
    retryable = True
    status = 503
    meaning = (
        "The message log, the broker or the tokens' issuer cannot be reached, or a hook gives no verdict; the command "
        "may or may not have taken effect."
    )
    remedy = "Back off, then send the same command with the same key."


class Overloaded(MaruError):
    code = "overloaded"
    retryable = True
    status = 503
    meaning = "A bound of the server is reached; the command has not taken effect."
    remedy = (
        "Wait `retry_after_ms` if it is there, else back off with jitter; then send the same command with the same key."
    )


class Internal(MaruError):
    code = "internal"
    status = 500
    meaning = "A fault of the server; its log has the details under the session's id."
    remedy = "Report it; a retry with the same key is safe but may fail again."


TABLE: tuple[type[MaruError], ...] = (
    BadRequest,
    UnknownCommand,
    UnknownNamespace,
    Unauthenticated,
    TokenExpired,
    TokenRevoked,
    TokenInQuery,
    PermissionDenied,
    NotJoined,
    NotFound,
    Conflict,
    PayloadTooLarge,
    TooManyChannels,
    RateLimited,
    Unavailable,
    Overloaded,
    Internal,
)
"""The closed table, in the order of PROTOCOL.md."""
