"""A session whose commands are refused again and again has a client that nobody watches: it is ended."""

from collections import deque

from server.domain.errors import BadRequest, PermissionDenied, RateLimited, UnknownCommand

MAX_REFUSALS = 200
"""Refusals within `REFUSALS_S` that end a session."""

REFUSALS_S = 60.0

COUNTED = frozenset({RateLimited.code, BadRequest.code, UnknownCommand.code, PermissionDenied.code})
"""The codes of refusals that are the client's own doing."""


class ErrorBudget:
    """Counts the refusals of a session. Make it at the first refusal: most sessions have none."""

    __slots__ = ("_times",)

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=MAX_REFUSALS)  # of the last refusals, on a monotonic clock, in seconds

    def spent(self, now: float) -> bool:
        """Count a refusal. Return whether there are too many now."""
        self._times.append(now)
        return len(self._times) == MAX_REFUSALS and now - self._times[0] <= REFUSALS_S
