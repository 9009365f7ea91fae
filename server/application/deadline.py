"""The promise that a client waits at most 2 s for the log or the broker (P1)."""

import asyncio
from collections import deque
from types import TracebackType

from server.domain.errors import Unavailable

COMMAND_DEADLINE_S = 1.8
"""Of all the waiting inside one command: the rest of the 2 s belongs to the way there and back."""


class deadline:  # noqa: N801  # it is used like the function `asyncio.timeout`
    """A context that turns a wait that is too long into `Unavailable`.

    As `asyncio.timeout`, for limits that are all alike and hardly ever reached: one timer watches over all of them, and
    coming and going costs it next to nothing. `over` says that nothing is waited for any more.
    """

    __slots__ = ("_cancelling", "_expired", "_seconds", "_task", "_watch", "expires_at", "over")

    def __init__(self, seconds: float = COMMAND_DEADLINE_S) -> None:
        self._seconds = seconds
        self._expired = False
        self.over = False

    async def __aenter__(self) -> None:
        self._watch = _watch_over(self._seconds)
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
        # A cancellation beside ours is somebody else's, and stays one.
        if self._expired and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            late = TimeoutError(f"waited for {self._seconds} s")
            raise Unavailable(f"no answer from the log or the broker within {self._seconds} s") from late

    def expire(self) -> None:
        """End the wait."""
        self._expired = True
        self._task.cancel()


class _Watch:
    """The waits of one event loop that have the same limit, so that the first to begin is the first to expire."""

    __slots__ = ("_seconds", "_timer", "_waits", "loop")

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        self.loop = loop
        self._seconds = seconds
        self._waits: deque[deadline] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def watches(self, loop: asyncio.AbstractEventLoop, seconds: float) -> bool:
        """Whether it is the one for these."""
        return self.loop is loop and self._seconds == seconds

    def begin(self, wait: deadline) -> float:
        """Watch over a wait; return when it expires, on the loop's clock."""
        expires_at = self.loop.time() + self._seconds
        self._waits.append(wait)
        if self._timer is None:
            self._timer = self.loop.call_at(expires_at, self._look)
        return expires_at

    def tidy(self) -> None:
        """Forget those at the front that are over: what is kept began after the longest wait that goes on."""
        while self._waits and self._waits[0].over:
            self._waits.popleft()

    def _look(self) -> None:
        now = self.loop.time()
        while self._waits and (self._waits[0].over or self._waits[0].expires_at <= now):
            wait = self._waits.popleft()
            if not wait.over:
                wait.expire()
        self._timer = self.loop.call_at(self._waits[0].expires_at, self._look) if self._waits else None


_latest: _Watch | None = None


def _watch_over(seconds: float) -> _Watch:
    """The watch of the running loop; a new one where the last was another loop's, or for another time."""
    global _latest  # noqa: PLW0603  # a cache of one: a process has one loop and one limit, but for its tests
    loop = asyncio.get_running_loop()
    if _latest is None or not _latest.watches(loop, seconds):
        _latest = _Watch(loop, seconds)
    return _latest
