"""How many clients may be connected at once: each has a descriptor, and the process needs some for itself."""

from collections.abc import Callable
from enum import Enum, auto

import structlog

from server.domain.outcomes import Refusal
from server.ports.metrics import ConnectionMetrics

ANSWERED = 4
"""Connections over the bound that are answered with 503 at the same time, so that a proxy asks another replica. Further
ones are closed unheard: to a proxy that is an error, after which it does the same."""

LINE_S = 10.0
"""Between two log lines about the bound."""

_log = structlog.get_logger("maru.connection")


class Place(Enum):
    """The fate of a connection that was accepted."""

    CLIENT = auto()
    ANSWERED = auto()  # its request gets a 503
    CLOSED = auto()


class Capacity:
    """Counts the connections to the public port: WebSockets, and HTTP connections, also those that have not sent a
    byte. `others` says how many there are beside those that wait here; `clock` is monotonic, in seconds."""

    def __init__(
        self, limit: int, others: Callable[[], int], metrics: ConnectionMetrics, clock: Callable[[], float]
    ) -> None:
        self._limit = limit
        self._others = others
        self._metrics = metrics
        self._clock = clock
        self._clients = 0  # whose first read has not come, or is not parsed
        self._answered = 0  # that are told that there is no room
        self._refused = 0  # since the last line
        self._line_due = 0.0  # on the clock

    def enter(self) -> Place:
        """Give a connection its place. Unless it is `CLOSED`, call `leave` once for it."""
        if self._clients + self._others() < self._limit:
            self._clients += 1
            return Place.CLIENT
        self._metrics.refused(Refusal.CONNECTIONS)
        self._tell()
        if self._answered < ANSWERED:
            self._answered += 1
            return Place.ANSWERED
        return Place.CLOSED

    def leave(self, place: Place) -> None:
        """Count a connection no more: it is gone, or is among the others now."""
        if place is Place.CLIENT:
            self._clients -= 1
        else:
            self._answered -= 1

    def _tell(self) -> None:
        self._refused += 1
        now = self._clock()
        if now >= self._line_due:
            _log.warning("connections.full", limit=self._limit, refused=self._refused)
            self._refused, self._line_due = 0, now + LINE_S
