"""Tell operators of refused handshakes: each is counted, and a sample is written to the log, with a remedy.

A refusal is all that the developer of a client, or its user, may ever see of this server, and few libraries show its
answer.
"""

import asyncio
from collections import Counter
from collections.abc import Callable

import structlog

from server.domain.outcomes import Refusal
from server.gateway.websocket.refusals import Refused
from server.ports.metrics import ConnectionMetrics

SAMPLE = 5
"""Lines of each reason in a period: a client with a wrong option is seen, and a flood does not fill the log."""

PERIOD_S = 10.0
"""At its end, one line for each reason says how many lines were left out."""

CallLater = Callable[[float, Callable[[], None]], object]
"""Schedules a call, in seconds from now."""

_log = structlog.get_logger("maru.connection")


class RefusalLog:
    """Counts refusals, and writes a sample of them; all of them in `development`."""

    def __init__(
        self, metrics: ConnectionMetrics, *, development: bool = False, call_later: CallLater | None = None
    ) -> None:
        self._metrics = metrics
        self._development = development
        self._call_later: CallLater = call_later or asyncio.get_running_loop().call_later
        self._refused: Counter[Refusal] = Counter()  # in this period, which begins with the first

    def add(self, refused: Refused, remote: str | None) -> None:
        """Count a refused handshake of a client's address, and write a line about it unless there were many."""
        self._metrics.refused(refused.reason)
        if not self._development:
            if not self._refused:
                self._call_later(PERIOD_S, self._end)
            self._refused[refused.reason] += 1
            if self._refused[refused.reason] > SAMPLE:
                return
        _log.info(
            "handshake.refused",
            reason=refused.reason.value,
            status=refused.status,
            remote=remote,
            remedy=refused.remedy,
        )

    def _end(self) -> None:
        refused, self._refused = self._refused, Counter()
        for reason, count in refused.items():
            if count > SAMPLE:
                _log.info("handshake.suppressed", reason=reason.value, suppressed=count - SAMPLE)
