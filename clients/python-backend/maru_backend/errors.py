"""The errors of calls, and the pauses between two tries."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

MS = 1_000
"""Milliseconds in a second."""

_LONGEST_MS = 366 * 24 * 3_600 * MS
"""A longer wait is as good as that."""


class MaruError(Exception):
    """A call that was refused, or that could not be made.

    `code` is from the table of PROTOCOL.md ("Errors"), or one of the client's own: `offline` and `timeout` (retryable:
    the call may or may not have been done), `bad_answer` (no answer of Maru's) and `closed`. `retryable`: the same call
    may succeed later; this client has tried until its time was up. `status` is 0 without an answer. `request_id` stands
    in the server's log line of the call.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        retryable: bool = False,
        retry_after_ms: int | None = None,
        details: Mapping[str, Any] | None = None,
        status: int = 0,
        request_id: str = "",
    ) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message
        self.retryable = retryable
        self.retry_after_ms = retry_after_ms
        self.details = details or {}
        self.status = status
        self.request_id = request_id

    def __str__(self) -> str:
        """For people: the code, the server's words, and the id to look for in its log."""
        return f"{self.code}: {self.message}" + (f" (request {self.request_id})" if self.request_id else "")

    @classmethod
    def from_wire(cls, envelope: Any, *, status: int = 0, request_id: str = "") -> "MaruError":
        """Read `{code, message, retryable, retry_after_ms?, details?}`. Raises `TypeError` for any other value."""
        if not isinstance(envelope, dict) or not isinstance(envelope.get("code"), str):
            raise TypeError("no error of Maru's")
        wait, details = envelope.get("retry_after_ms"), envelope.get("details")
        return cls(
            envelope["code"],
            str(envelope.get("message", "the server gave no reason")),
            retryable=envelope.get("retryable") is True,
            retry_after_ms=min(wait, _LONGEST_MS) if isinstance(wait, int) else None,
            details=details if isinstance(details, dict) else None,
            status=status,
            request_id=request_id,
        )


@dataclass(frozen=True, slots=True)
class Patience:
    """How long calls are tried, in seconds: `attempt` is the limit of a try, `total` that of a call with all its tries.

    Before try n (the first is 0) a call waits for a random time between 0 and `lowest` x 2**n, and `highest` at most;
    but never less than the server has asked for.
    """

    total: float = 30.0
    attempt: float = 10.0
    lowest: float = 0.2
    highest: float = 5.0
    spread: Callable[[], float] = random.random

    def pause(self, failures: int, error: MaruError) -> float:
        """Return the seconds to wait after so many failed tries, of which `error` was the last."""
        jittered = min(self.highest, self.lowest * 2.0 ** min(failures, 16)) * self.spread()
        return max(jittered, (error.retry_after_ms or 0) / MS)
