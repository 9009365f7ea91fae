"""The queue of sessions that resume: a few are served at once, and those first that can still be served in time."""

import asyncio
import heapq
from itertools import count
from types import TracebackType

RESUMES = 2
"""Sessions whose channels are resumed at once: few, so that each is done soon. All at once, hundreds of sessions of 500
channels would all be done too late for their clients."""


class ResumeQueue:
    """Gives sessions their turns, a channel at a time: at most `RESUMES` sessions have a turn.

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

    async def take(self, fresh: bool, arrival: int) -> None:
        """Wait for a turn."""
        if self._free:
            self._free -= 1
            return
        turn = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (fresh, -arrival if fresh else arrival, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give()  # the turn came in the same moment
            raise

    def give(self) -> None:
        """End a turn: the next session has it."""
        while self._waiting:
            _, _, turn = heapq.heappop(self._waiting)
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1


class Place:
    """A session's place in the queue. Use as an async context manager, once for each channel: the body is a turn."""

    __slots__ = ("_arrival", "_fresh", "_queue")

    def __init__(self, queue: ResumeQueue, arrival: int) -> None:
        self._queue = queue
        self._arrival = arrival
        self._fresh = True  # whether the session has had no turn yet

    async def __aenter__(self) -> None:
        await self._queue.take(self._fresh, self._arrival)
        self._fresh = False

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._queue.give()
