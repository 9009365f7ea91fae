"""Hooks: a backend is asked before a command takes effect (PROTOCOL.md, "Hooks")."""

from dataclasses import field
from enum import StrEnum
from typing import Any

from server.domain.channels import ChannelName
from server.domain.identity import SessionId, UserId
from server.domain.messages import MessageId
from server.domain.values import value

MAX_REASON_CHARS = 200
"""Of the reason for a rejection, which people read."""

MAX_CACHE_S = 300
"""For how long an accepted join may be remembered, at most."""

MAX_ANSWER_BYTES = 64 * 1024
"""Of an answer's body: a replacement of the largest size fits, however it is escaped."""


class Hook(StrEnum):
    """The commands before which a backend can be asked."""

    JOIN = "join"
    SEND = "send"
    EDIT = "edit"


class HookFailure(StrEnum):
    """The fate of a command if the backend gives no answer: refused as `unavailable`, or let through."""

    CLOSED = "closed"
    OPEN = "open"


@value
class Question:
    """May this user do this? `id` is of a message that is to be edited, `name` of an event that is to be published."""

    hook: Hook
    user: UserId
    session: SessionId
    channel: ChannelName
    text: str | None = field(default=None, repr=False)
    data: Any = field(default=None, repr=False)
    key: str | None = None
    id: MessageId | None = None
    name: str | None = None


@value
class Accept:
    """The command may take effect. An accepted join holds for `cache_s` seconds, for this user and channel."""

    cache_s: float = 0.0


@value
class Reject:
    """The command is refused. `reason` is for people."""

    reason: str | None = None


@value
class Replace:
    """The command takes effect with another content. `content` has the `text` and perhaps the `data` that take the
    place of the command's, as the backend gave them."""

    content: dict[str, Any] = field(repr=False)


Verdict = Accept | Reject | Replace
"""The answers of a backend. Closed: match it exhaustively."""


class AskOutcome(StrEnum):
    """How asking may end."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    REPLACED = "replaced"
    REMEMBERED = "remembered"
    """Not asked: an accepted join holds."""
    TIMED_OUT = "timed_out"
    UNREACHABLE = "unreachable"
    """No connection, or a connection that was lost."""
    BAD_STATUS = "bad_status"
    """Another status than 200; redirects are not followed."""
    BAD_ANSWER = "bad_answer"
    """No verdict, a verdict out of bounds, or too many bytes."""
    CIRCUIT_OPEN = "circuit_open"
    """Not asked: too many of the last questions had no answer."""
    OVERLOADED = "overloaded"
    """Not asked: too many questions are under way."""
    GIVEN_UP = "given_up"
    """The command ended before the answer came."""


class NoVerdict(Exception):
    """The backend gave no verdict. The text says why, and holds nothing of the answer's content."""

    def __init__(self, outcome: AskOutcome, why: str) -> None:
        super().__init__(why)
        self.outcome = outcome
