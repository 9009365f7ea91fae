"""The queue of sessions that resume: a few are served at once, and those first that can still be served in time."""

import asyncio
import heapq
from itertools import count
from types import TracebackType

RESUMES = 2
"""Sessions whose channels are resumed at once: few, so that each is done soon. All at once, hundreds of sessions of 500
channels would all be done too late for their clients."""


class ResumeQueue:
    """Gives sessions their turns, a few channels at a time: at most `RESUMES` sessions have a turn.

    A session that has begun goes before those that have not, so at most twice as many have begun. Of the others the
    newest goes first: its client is willing to wait for long, while the client that came first is the next to hang up
    and try again.
    """

    def __init__(self, at_once: int = RESUMES) -> None:
        self._free = at_once
        self._arrivals = count()
        self._waiting: list[tuple[bool, int, asyncio.Future[None]]] = []  # a heap

    def arrive(self) -> "Place":
        """Return a place for a session, which has not begun."""
        return Place(self, next(self._arrivals))

    async def take(self, place: "Place") -> None:
        """Wait for a turn."""
        if self._free > 0:
            self._free -= 1
            return
        turn = place.turn = asyncio.get_running_loop().create_future()
        rank = -place.arrival if place.fresh else place.arrival
        heapq.heappush(self._waiting, (place.fresh, rank, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give()  # the turn came in the same moment
            raise
        finally:
            place.turn = None

    def hurry(self, turn: asyncio.Future[None]) -> None:
        """Give a turn now to a session that waits, beside those of `RESUMES` sessions."""
        if not turn.done():
            self._free -= 1
            turn.set_result(None)

    def give(self) -> None:
        """End a turn: the next session has it."""
        self._free += 1
        while self._free > 0 and self._waiting:
            _, _, turn = heapq.heappop(self._waiting)
            if not turn.done():
                self._free -= 1
                turn.set_result(None)


class Place:
    """A session's place in the queue. Use as an async context manager, once for a few channels: the body is a turn."""

    __slots__ = ("_queue", "arrival", "fresh", "turn")

    def __init__(self, queue: ResumeQueue, arrival: int) -> None:
        self._queue = queue
        self.arrival = arrival
        self.fresh = True  # whether the session has had no turn yet
        self.turn: asyncio.Future[None] | None = None  # is waited for

    def gone(self) -> None:
        """End the wait for a turn: the session is gone, and its turn does nothing."""
        if self.turn is not None:
            self._queue.hurry(self.turn)

    async def __aenter__(self) -> None:
        await self._queue.take(self)
        self.fresh = False

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._queue.give()
