"""What follows a refusal: it is counted, and a session with too many of them ends."""

import asyncio
import time
from collections.abc import Callable

from server.application.limits.error_budget import COUNTED, MAX_REFUSALS, REFUSALS_S, ErrorBudget
from server.application.sessions.session import Session
from server.application.sessions.sessions import Sessions
from server.domain.errors import MaruError, RateLimited
from server.ports.metrics import CommandMetrics


class Refusals:
    """Takes note of the failures of commands. `clock` is monotonic, in seconds."""

    def __init__(
        self, sessions: Sessions, metrics: CommandMetrics, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._sessions = sessions
        self._metrics = metrics
        self._clock = clock

    def note(self, session: Session, name: str, error: MaruError, elapsed: float | None = None) -> None:
        """Count a failure, whether its client is told or not. `elapsed`: the command was taken from the session's
        buckets so many seconds ago; None: it was not. The session ends in the next turn of the loop."""
        if isinstance(error, RateLimited):
            self._metrics.rate_limited(name, error.scope)
            if elapsed is not None and session.allowance is not None:
                session.allowance.give_back(name, elapsed)
        # Without limits nobody is ended for being refused.
        if error.code not in COUNTED or session.allowance is None or session.ended:
            return
        if session.refusals is None:
            session.refusals = ErrorBudget()
        if session.refusals.spent(self._clock()):
            ended = RateLimited(f"{MAX_REFUSALS} commands were refused in {REFUSALS_S:.0f} s")
            # Behind the answer that is being written.
            asyncio.get_running_loop().call_soon(self._sessions.terminate, session, ended)
