"""What can go wrong, and how long to wait before the next try."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


class MaruError(Exception):
    """A refusal with the protocol's `code` (PROTOCOL.md, "Errors"), or one of this client's own.

    Its own: `offline`, `timeout`, `token_unavailable` (retryable); `outbox_full`, `key_expired`, `terminated`,
    `closed`, `bad_answer` (not). `retryable`: the same call may succeed later. `retry_after`: seconds to wait, 0.0
    where the server named none.
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


def transient(code: str, message: str) -> MaruError:
    """An error that time can heal."""
    return MaruError(code, message, retryable=True)


@dataclass(frozen=True, slots=True)
class Backoff:
    """Doubling from `lowest` to `highest` seconds, each spread by half to either side so that clients do not march
    in step after a server's restart."""

    lowest: float = 1.0
    highest: float = 10.0
    spread: Callable[[], float] = random.random

    def __call__(self, failures: int) -> float:
        """Return the seconds to wait after `failures` earlier ones in a row."""
        return min(self.highest, self.lowest * 2.0 ** min(failures, 16)) * (0.5 + self.spread())
