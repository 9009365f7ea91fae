"""The bot's errors, and the pause before the next try."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


class MaruError(Exception):
    """A refusal with the protocol's `code` (PROTOCOL.md, "Errors"), or an error of the client itself.

    The client's own codes: `offline`, `timeout`, `token_unavailable` (retryable); `outbox_full`, `key_expired`,
    `connection_ended`, `terminated`, `closed`, `bad_answer` (not). `retryable`: the same call may succeed later.
    `retry_after`: seconds to wait, 0.0 if the server named no time.
    """

    def __init__(
        self,
        code: str,
        message: str = "",
        *,
        retryable: bool = False,
        retry_after: float = 0.0,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(f"{code}: {message}" if message else code)
        self.code = code
        self.retryable = retryable
        self.retry_after = retry_after
        self.details = details

    @classmethod
    def from_wire(cls, envelope: Any) -> "MaruError":
        """Read `{code, message, retryable, retry_after_ms, details}`; a broken envelope is `internal`."""
        body = envelope if isinstance(envelope, dict) else {}
        return cls(
            str(body.get("code", "internal")),
            str(body.get("message", "the server gave no reason")),
            retryable=body.get("retryable") is True,
            retry_after=float(body.get("retry_after_ms") or 0) / 1000,
            details=body.get("details"),
        )


class Terminated(MaruError):
    """The server has ended the session on purpose: the client stays away, though another token might be accepted."""


def transient(code: str, message: str) -> MaruError:
    """Make an error that time can heal."""
    return MaruError(code, message, retryable=True)


@dataclass(frozen=True, slots=True)
class Backoff:
    """Pauses that double from `lowest` to `highest` seconds.

    Each is spread by half to either side, so that clients do not reconnect in step after a server's restart.
    """

    lowest: float = 1.0
    highest: float = 10.0
    spread: Callable[[], float] = random.random

    def __call__(self, failures: int) -> float:
        """Return the seconds to wait after `failures` failed tries in a row."""
        return min(self.highest, self.lowest * 2.0 ** min(failures, 16)) * (0.5 + self.spread())
