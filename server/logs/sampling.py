"""Write the first lines of each session and second, and say how many more there were.

So a client that floods the server with commands does not flood its log.
"""

from collections.abc import Callable

import structlog

SECOND = 1.0

MAX_SESSIONS = 65_536
"""Bound of the sessions whose lines are counted. Over it the second ends early."""

Write = Callable[[str, str, str | None, str | None, int | None, str, float], None]
"""Writes a command's line: name, session, user, channel, offset, outcome, ms."""

CallLater = Callable[[float, Callable[[], None]], object]
"""Schedules a call, in seconds from now: an event loop's `call_later`."""


class _Flood:
    """What a session said in this second beyond its lines."""

    __slots__ = ("outcomes", "suppressed", "user")

    def __init__(self, user: str | None) -> None:
        self.user = user
        self.outcomes: set[str] = {"ok"}  # outcomes of which a line was written, or need not be
        self.suppressed = 0


class Sample:
    """Decides which lines of commands are written: in each second `limit` of a session, and the first of each outcome.

    So a refusal is seen in any flood. At the end of the second a line says how many of a session's lines are missing. A
    second begins with the first line after the second before: nothing is kept of sessions that do not speak.
    """

    def __init__(self, write: Write, limit: int, call_later: CallLater) -> None:
        self._write, self._limit, self._call_later = write, limit, call_later
        self._log = structlog.get_logger("maru.command").bind()
        self._counts: dict[str, int] = {}  # lines of each session in this second, up to the limit
        self._floods: dict[str, _Flood] = {}  # sessions over it
        self._second = 0  # which second this is: an end that was scheduled for another is passed over

    def line(
        self,
        name: str,
        session: str,
        user: str | None,
        channel: str | None,
        offset: int | None,
        outcome: str,
        ms: float,
    ) -> None:
        """Write a command's line, or count it."""
        count = self._counts.get(session, 0)
        if count < self._limit:
            if not count:
                self._begin()
            self._counts[session] = count + 1
        elif self._suppressed(session, user, outcome):
            return
        self._write(name, session, user, channel, offset, outcome, ms)

    def _begin(self) -> None:
        if len(self._counts) >= MAX_SESSIONS:
            self._end(self._second)
        if not self._counts:
            second = self._second
            self._call_later(SECOND, lambda: self._end(second))

    def _suppressed(self, session: str, user: str | None, outcome: str) -> bool:
        flood = self._floods.get(session)
        if flood is None:
            flood = self._floods[session] = _Flood(user)
        if outcome not in flood.outcomes:
            flood.outcomes.add(outcome)
            return False
        flood.suppressed += 1
        return True

    def _end(self, second: int) -> None:
        if second != self._second:
            return
        self._second += 1
        floods, self._floods, self._counts = self._floods, {}, {}
        for session, flood in floods.items():
            if flood.suppressed:
                self._log.info("command.suppressed", session=session, user=flood.user, suppressed=flood.suppressed)
