"""The audit: a line for every request of the HTTP API, with the key's name, the act, its target and outcome.

Never texts, tokens or keys: ids alone. Requests without a key can come from anybody who reaches the port, so their
lines are bounded; those of keys are all written.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import structlog
from aiohttp import hdrs, web

UNKNOWN = "unknown"
"""The act of a request that is none in the table."""

STRANGERS_LINES = 10
"""Lines about requests without a key that are written in a second."""

REQUEST_ID = "X-Request-Id"

_ID = re.compile(r"[!-~]{1,64}", re.ASCII)
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(?:-.{0,256})?", re.ASCII)


@dataclass(slots=True)
class Act:
    """A request, as its line tells of it."""

    request_id: str
    trace: str | None  # of `traceparent` (W3C Trace Context)
    name: str = UNKNOWN
    key: str | None = None
    target: dict[str, Any] = field(default_factory=dict)


def begun(request: web.Request, new_id: Callable[[], str]) -> Act:
    """Return the act of a request, under the caller's id for it if that is well formed and not the key itself."""
    given = request.headers.get(REQUEST_ID, "")
    own = _ID.fullmatch(given) and given not in request.headers.get(hdrs.AUTHORIZATION, "")
    trace = _TRACEPARENT.fullmatch(request.headers.get("traceparent", ""))
    return Act(given if own else new_id(), trace[1] if trace else None)


class Audit:
    """Writes the lines. `clock` is monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._second = 0  # in which strangers' lines are counted
        self._lines = 0  # of strangers, in this second
        self._log = structlog.get_logger("maru.audit")

    def note(self, act: Act, outcome: str, status: int, seconds: float) -> None:
        """Write the line of an act that is over."""
        if act.key is None and not self._has_room():
            return
        own = {"act": act.name, "key": act.key}
        told = {"outcome": outcome, "status": status, "request": act.request_id, "ms": round(seconds * 1000, 2)}
        if act.trace is not None:
            told["trace"] = act.trace
        # The line's own fields win over parameters of the same name.
        self._log.info("act", **(own | act.target | told | own))

    def _has_room(self) -> bool:
        second = int(self._clock())
        self._lines = self._lines + 1 if second == self._second else 1
        self._second = second
        return self._lines <= STRANGERS_LINES
