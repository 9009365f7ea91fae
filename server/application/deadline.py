"""The promise that a client waits at most 2 s for the log or the broker (P1)."""

import asyncio
from collections import deque
from types import TracebackType
from typing import Protocol

from server.domain.errors import Unavailable

COMMAND_DEADLINE_S = 1.8
"""Time for all waits inside one command. The rest of the 2 s is for the network, both ways."""


BUSY_S = 0.1
"""A deadline that is looked at later than this is put off by as much again, `PUT_OFFS` times: the event loop was busy
with something else, and the answer may have come meanwhile, or may not even have been asked for."""

PUT_OFFS = 3
"""A command may ask for several answers, one after the other, and each waits for the busy loop."""


class deadline:  # noqa: N801  # it is used like the function `asyncio.timeout`
    """A context that raises `Unavailable` if its body takes too long.

    It is like `asyncio.timeout`, for many limits of the same length that are hardly ever reached: one timer watches all
    of them, and entering and leaving cost next to nothing.
    """

    __slots__ = ("_cancelling", "_expired", "_seconds", "_task", "_watch", "expires_at", "over", "put_off")

    def __init__(self, seconds: float = COMMAND_DEADLINE_S) -> None:
        self._seconds = seconds  # how long the body may take
        self._expired = False  # whether the body was cancelled because it took too long
        self.over = False  # whether the body has ended
        self.put_off = 0  # how often the deadline has been put off

    async def __aenter__(self) -> None:
        self._watch = watch_over(self._seconds)
        task = asyncio.current_task(self._watch.loop)
        assert task is not None  # it awaits this
        self._task = task
        self._cancelling = task.cancelling()
        self.expires_at = self._watch.begin(self)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.over = True
        self._watch.tidy()
        # If the task was cancelled by somebody else, too, it stays cancelled.
        if self._expired and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            late = TimeoutError(f"waited for {self._seconds} s")
            raise Unavailable(f"no answer from the log or the broker within {self._seconds} s") from late

    def expire(self) -> None:
        """Cancel the body."""
        self._expired = True
        self._task.cancel()


class Watched(Protocol):
    """Something that a deadline is set for. It sets `over` itself, when it ends in time."""

    expires_at: float  # on the loop's clock
    over: bool
    put_off: int  # how often the deadline has been put off

    def expire(self) -> None:
        """End it: it takes too long."""


class Watch:
    """The deadlines of one event loop that have the same length, so that the first to begin is the first to expire.

    A stall of the event loop is no time in which the log or the broker could have answered: it counts for none of them.
    """

    __slots__ = ("_due", "_seconds", "_timer", "_waits", "loop")

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        self.loop = loop
        self._seconds = seconds
        self._waits: deque[Watched] = deque()  # in the order in which they began
        self._timer: asyncio.TimerHandle | None = None  # runs while there are any
        self._due = 0.0  # when the timer is to run

    def watches(self, loop: asyncio.AbstractEventLoop, seconds: float) -> bool:
        """Say whether the watch is for this loop and this length."""
        return self.loop is loop and self._seconds == seconds

    def begin(self, wait: Watched) -> float:
        """Watch a deadline; return when it expires, on the loop's clock."""
        expires_at = self.loop.time() + self._seconds
        self._waits.append(wait)
        if self._timer is None:
            self._set_timer(expires_at)
        return expires_at

    def tidy(self) -> None:
        """Forget the deadlines that are over, up to the oldest one that goes on."""
        while self._waits and self._waits[0].over:
            self._waits.popleft()

    def _look(self) -> None:
        now = self.loop.time()
        late = now - self._due
        if late > BUSY_S:
            self._put_off(now, late)
        while self._waits and (self._waits[0].over or self._waits[0].expires_at <= now):
            wait = self._waits.popleft()
            if not wait.over:
                wait.expire()
        self._timer = None
        if self._waits:
            self._set_timer(self._waits[0].expires_at)

    def _put_off(self, now: float, late: float) -> None:
        least = 0.0  # the deadlines keep their order
        for wait in self._waits:
            if wait.put_off < PUT_OFFS:
                wait.put_off += 1
                wait.expires_at = max(wait.expires_at, now) + late
            wait.expires_at = least = max(wait.expires_at, least)

    def _set_timer(self, due: float) -> None:
        self._due = due
        self._timer = self.loop.call_at(due, self._look)


_latest: Watch | None = None


def watch_over(seconds: float) -> Watch:
    """Return the running loop's watch for this length."""
    global _latest  # noqa: PLW0603  # a cache of one watch: except in tests, a process has one loop and one length
    loop = asyncio.get_running_loop()
    if _latest is None or not _latest.watches(loop, seconds):
        _latest = Watch(loop, seconds)
    return _latest
