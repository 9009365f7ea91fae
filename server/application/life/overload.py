"""Whether this replica has too much to do, so that it serves those inside and leaves other work undone.

Judged by how late the event loop is, and by how much waits for slow readers. No part of readiness: all replicas of a
busy deployment would leave at once.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from random import Random

import structlog

from server.domain.errors import Overloaded

CALM_S = 5.0
"""A state is left when everything has been well for this long."""

WAITING_S = 3.0
"""What waits for slow readers must be too much for this long: the gateway drops clients that stand still earlier."""

SAMPLES = 2
"""A single late look is a pause and no load: of the garbage collector, or of the whole machine."""

RETRY_MS = (2_000, 5_000)
"""A client whose read is left undone is told to wait for a time between these."""

_log = structlog.get_logger("maru.server")


def always() -> None:
    """Let every read pass."""


class Load(IntEnum):
    """The states, in the order of severity; each leaves undone more than the one before it."""

    CALM = 0
    BUSY = 1  # new handshakes
    HOT = 2  # reads of history, but no replay of missed events


@dataclass(frozen=True, slots=True)
class Bounds:
    """When a state is entered, and when all is well again. `waiting` is the part of its bound that waits for slow
    readers: if that is more for `WAITING_S`, the state is entered."""

    lag_s: float
    for_s: float
    well_s: float
    waiting: float
    well_waiting: float


BUSY = Bounds(lag_s=0.150, for_s=1.0, well_s=0.075, waiting=0.5, well_waiting=0.4)
HOT = Bounds(lag_s=0.500, for_s=2.0, well_s=0.250, waiting=0.8, well_waiting=0.7)


class _State:
    """Whether one state holds."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._late = 0  # looks in a row
        self._late_since = 0.0
        self._full_since: float | None = None
        self._well_since: float | None = None
        self.holds = False

    def look(self, lag_s: float, waiting: float, now: float) -> bool:
        """Judge anew. The loop has been late since the look was due."""
        bounds = self._bounds
        if lag_s <= bounds.lag_s:
            self._late = 0
        elif not self._late:
            self._late_since = now - lag_s
        self._late += lag_s > bounds.lag_s
        if waiting <= bounds.waiting:
            self._full_since = None
        elif self._full_since is None:
            self._full_since = now
        if lag_s >= bounds.well_s or waiting > bounds.well_waiting:
            self._well_since = None
        elif self._well_since is None:
            self._well_since = now
        if self.holds:
            self.holds = self._well_since is None or now - self._well_since < CALM_S
        else:
            late = self._late >= SAMPLES and now - self._late_since >= bounds.for_s
            full = self._full_since is not None and now - self._full_since >= WAITING_S
            self.holds = late or full
        return self.holds


class Overload:
    """The state of this replica. `waiting` tells which part of its bound waits for slow readers."""

    def __init__(self, waiting: Callable[[], float], random: Random) -> None:
        self._waiting = waiting
        self._random = random
        self._busy, self._hot = _State(BUSY), _State(HOT)
        self.load = Load.CALM

    def look(self, lag_s: float, now: float) -> None:
        """Judge anew, and log a change. `now` is monotonic, in seconds; `lag_s` is how late the event loop is."""
        waiting = self._waiting()
        busy, hot = self._busy.look(lag_s, waiting, now), self._hot.look(lag_s, waiting, now)
        load = Load.HOT if hot else Load.BUSY if busy else Load.CALM
        if load is not self.load:
            facts = {"load": load.name.lower(), "lag_ms": round(lag_s * 1000), "waiting": round(waiting, 2)}
            if load > self.load:
                _log.warning("overload.changed", **facts)
            else:
                _log.info("overload.changed", **facts)
            self.load = load

    @property
    def refuses_handshakes(self) -> bool:
        """Whether newcomers should ask another replica."""
        return self.load >= Load.BUSY

    def check_read(self) -> None:
        """Raise `Overloaded` if reads of history are left undone."""
        if self.load >= Load.HOT:
            raise Overloaded("the server is very busy; read later", retry_after_ms=self._random.randint(*RETRY_MS))
