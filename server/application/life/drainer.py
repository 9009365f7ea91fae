"""The drain: a replica that is about to end moves its clients elsewhere, at a steady pace, and loses none of their
commands and events.

`plan` computes when each client is asked to move and when its connection is closed; a `Drainer` carries the plan out.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from random import Random

import structlog

from server.domain.outcomes import DrainEnd
from server.domain.pushes import SessionDraining
from server.ports.connections import ConnectionId, Connections, DrainMetrics

NOTICES_PER_TURN = 200
"""Clients that are told in one turn of the event loop, which takes some milliseconds. Answers to others, and pings, get
a turn in between."""

GRACE_S = 2.0
"""From the moment at which a client is asked to move until its connection is closed: the client connects elsewhere,
resumes, and leaves. The first close comes this long after the drain begins, too."""

ANSWER_S = 2.0
"""Time to finish the commands that a client had sent before its close. After half of it, queued commands are dropped;
the other half is for the command in progress, which usually takes milliseconds."""

CLOSE_S = 1.9
"""Time for a client to answer a close. Shorter than the connection's own bound, so that the drain cuts the connection
off, and counts it."""

FINISH_S = 1.0
"""Time to close the stores and the links to other replicas, after the last connection has gone."""

SLOWEST_PACE = 50.0
"""Clients that move in a second, at least: this few are no herd, and gain nothing by waiting."""

_log = structlog.get_logger("maru.drain")


@dataclass(frozen=True, slots=True)
class DrainTiming:
    """How a drain is paced, in seconds."""

    timeout_s: float
    """From the signal to the end of the process. The other times are parts of it."""
    grace_s: float = GRACE_S
    answer_s: float = ANSWER_S
    close_s: float = CLOSE_S
    finish_s: float = FINISH_S
    slowest_pace: float = SLOWEST_PACE

    def fitted(self) -> "DrainTiming":
        """Return the timing whose parts fit into the timeout: all are shortened by the same factor if they do not."""
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
        """The time over which clients are asked to move: the timeout less all other times."""
        return max(0.0, self.timeout_s - self.grace_s - self.answer_s - self.close_s - self.finish_s)


@dataclass(frozen=True, slots=True)
class Move:
    """The times of one connection's move, in seconds after the drain began."""

    connection: ConnectionId
    reconnect_at: float
    close_at: float

    def notice(self, elapsed_s: float) -> SessionDraining:
        """Return the notice for its client."""
        return SessionDraining(_ms(self.reconnect_at - elapsed_s), _ms(self.close_at - elapsed_s))


def plan(connections: Sequence[ConnectionId], timing: DrainTiming, random: Random) -> list[Move]:
    """Return the moves of the connections, in the order of time.

    The connections are shuffled; each gets a slot of equal length, and a random moment within its slot. So about the
    same number of clients move in any second: `len(connections) / window_s`, or the slowest pace.
    """
    order = list(connections)
    random.shuffle(order)
    span = min(timing.window_s, len(order) / timing.slowest_pace)
    moves = []
    for slot, connection in enumerate(order):
        reconnect_at = span * (slot + random.random()) / len(order)
        moves.append(Move(connection, reconnect_at, reconnect_at + timing.grace_s))
    return moves


class Drainer:
    """Ends every connection of this replica. `clock` is monotonic, in seconds.

    `run` returns within `timeout_s` less `finish_s`, whatever the clients do; at once if there is no client.
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
        self._began = 0.0  # when the drain began, on the clock
        self._uncounted: set[ConnectionId] = set()  # connections of the drain whose end has not been counted
        self._ended: Counter[DrainEnd] = Counter()  # connections whose end has been counted

    async def run(self) -> None:
        """Stop accepting connections, tell every client when to move, and close each connection that is left when its
        time has come."""
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
        """Close each connection when its time has come, without waiting for the ones before, until all are gone."""
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
        """Cut off the connections that are left, and count those that went before their time had come."""
        self._count(DrainEnd.ABORTED, self._connections.abort())
        await self._connections.gone(self._timing.finish_s / 2)  # until each end has its line in the log
        self._count(DrainEnd.LEFT, tuple(self._uncounted))
        _log.info("drained", **self._counts(), seconds=self._seconds())

    def _count(self, how: DrainEnd, connections: Iterable[ConnectionId]) -> None:
        """Count the ends of the drain's connections, each once. Connections that are not of the drain are ignored."""
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
