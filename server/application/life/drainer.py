"""The drain: a replica that is to end moves its clients elsewhere, at a pace, and loses nothing of theirs.

`plan` says, as numbers alone, when each client is asked to move and when its connection is closed; a `Drainer` does it.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from random import Random

import structlog

from server.domain.outcomes import DrainEnd
from server.domain.pushes import SessionDraining
from server.ports.connections import ConnectionId, Connections
from server.ports.metrics import DrainMetrics

NOTICES_PER_TURN = 200
"""Clients told in one go, some milliseconds; others' answers and pings get a turn in between."""

GRACE_S = 2.0
"""Between the moment at which a client is to move and its close: it connects elsewhere, resumes, and leaves. Also the
time before the first close."""

ANSWER_S = 2.0
"""For what has been read of a client before its close: half of it for all of that, half for the one command that is
then being done, which as a rule takes milliseconds."""

CLOSE_S = 1.9
"""For a client's answer to its close. Under the connection's own bound, so that who counts it also cuts it off."""

FINISH_S = 1.0
"""For what comes after the last connection: the stores, the links to other replicas."""

SLOWEST_PACE = 50.0
"""Clients a second at least: few are no herd, and gain nothing by waiting."""

_log = structlog.get_logger("maru.drain")


@dataclass(frozen=True, slots=True)
class DrainTiming:
    """How a drain is paced, in seconds; `timeout_s` is from the signal to the end of the process. Where that has no
    room for the others, all are shortened alike."""

    timeout_s: float
    grace_s: float = GRACE_S
    answer_s: float = ANSWER_S
    close_s: float = CLOSE_S
    finish_s: float = FINISH_S
    slowest_pace: float = SLOWEST_PACE

    def fitted(self) -> "DrainTiming":
        """The same, shortened to fit into the timeout."""
        needed = self.grace_s + self.answer_s + self.close_s + self.finish_s
        share = min(1.0, self.timeout_s / needed) if needed else 1.0
        return replace(
            self,
            grace_s=self.grace_s * share,
            answer_s=self.answer_s * share,
            close_s=self.close_s * share,
            finish_s=self.finish_s * share,
        )

    @property
    def window_s(self) -> float:
        """The time over which clients are asked to move: what the rest leaves of the timeout."""
        return max(0.0, self.timeout_s - self.grace_s - self.answer_s - self.close_s - self.finish_s)


@dataclass(frozen=True, slots=True)
class Move:
    """What is to become of one connection, in seconds after the drain's beginning."""

    connection: ConnectionId
    reconnect_at: float
    close_at: float

    def notice(self, elapsed_s: float) -> SessionDraining:
        """What its client is told."""
        return SessionDraining(_ms(self.reconnect_at - elapsed_s), _ms(self.close_at - elapsed_s))


def plan(connections: Sequence[ConnectionId], timing: DrainTiming, random: Random) -> list[Move]:
    """Give each connection its time: shuffled, one to a slot of equal length, anywhere within it; in the order of time.

    So in any second about as many clients move as in any other: `len(connections) / window_s`, or the slowest pace.
    """
    order = list(connections)
    random.shuffle(order)
    span = min(timing.window_s, len(order) / timing.slowest_pace)
    moves = []
    for place, connection in enumerate(order):
        reconnect_at = span * (place + random.random()) / len(order)
        moves.append(Move(connection, reconnect_at, reconnect_at + timing.grace_s))
    return moves


class Drainer:
    """Ends every connection of this replica. `clock` is monotonic, in seconds.

    Within `timeout_s` less `finish_s` it is done, whatever the clients do; with no client, at once.
    """

    def __init__(
        self,
        connections: Connections,
        timing: DrainTiming,
        metrics: DrainMetrics,
        random: Random,
        clock: Callable[[], float],
    ) -> None:
        self._connections = connections
        self._timing = timing.fitted()
        self._metrics = metrics
        self._random = random
        self._clock = clock
        self._began = 0.0
        self._uncounted: set[ConnectionId] = set()
        self._ended: Counter[DrainEnd] = Counter()

    async def run(self) -> None:
        """Shut the door, tell everybody when to move, close who is still here when its time has come."""
        timing = self._timing
        self._began = self._clock()
        self._metrics.draining(True)
        moves = plan(self._connections.shut(), timing, self._random)
        self._uncounted = {move.connection for move in moves}
        last = moves[-1].close_at if moves else 0.0
        _log.info("stopping", connections=len(moves), timeout_s=timing.timeout_s, last_close_s=round(last, 3))
        try:
            async with asyncio.timeout(timing.timeout_s - timing.finish_s):
                await self._notify(moves)
                await self._close(moves)
                await self._connections.gone(timing.close_s)
        except TimeoutError:
            _log.warning("drain.cut_short", seconds=self._seconds())
        await self._finish()

    async def _notify(self, moves: Sequence[Move]) -> None:
        told = 0
        for first in range(0, len(moves), NOTICES_PER_TURN):
            elapsed = self._elapsed()
            portion = moves[first : first + NOTICES_PER_TURN]
            count = sum(self._connections.notify(move.connection, move.notice(elapsed)) for move in portion)
            self._metrics.drain_notified(count)
            told += count
            await asyncio.sleep(0)
        _log.info("drain.notified", sessions=told, seconds=self._seconds())

    async def _close(self, moves: Sequence[Move]) -> None:
        """Close one after another, each in its time and without waiting for the one before; until all are gone."""
        async with asyncio.TaskGroup() as closing:
            for move in moves:
                if await self._connections.gone(move.close_at - self._elapsed()):
                    break
                closing.create_task(self._end(move.connection))
        _log.info("drain.closed", **self._counts(), seconds=self._seconds())

    async def _end(self, connection: ConnectionId) -> None:
        how = await self._connections.end(connection, self._timing.answer_s, self._timing.close_s)
        self._count(how, (connection,))

    async def _finish(self) -> None:
        """Count the rest: cut off, or gone before their time had come."""
        self._count(DrainEnd.ABORTED, self._connections.abort())
        await self._connections.gone(self._timing.finish_s / 2)  # so that each has its line in the log
        self._count(DrainEnd.LEFT, tuple(self._uncounted))
        _log.info("drained", **self._counts(), seconds=self._seconds())

    def _count(self, how: DrainEnd, connections: Iterable[ConnectionId]) -> None:
        """Count connections, each once; those that were not among the drain's are nobody's business here."""
        counted = self._uncounted.intersection(connections)
        if counted:
            self._uncounted -= counted
            self._ended[how] += len(counted)
            self._metrics.drain_closed(how, len(counted))

    def _counts(self) -> dict[str, int]:
        return {how.value: self._ended[how] for how in DrainEnd}

    def _elapsed(self) -> float:
        return self._clock() - self._began

    def _seconds(self) -> float:
        return round(self._elapsed(), 3)


def _ms(seconds: float) -> int:
    return max(0, round(seconds * 1000))
