"""The events of a channel that wait for its reader."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Self

from maru_bot.events import Event


class Reader:
    """Iterate over it, from one task, or call `take` whenever a watcher is called. At most `limit` events wait.

    `all_taken` is called when the reader has taken every event, perhaps again and again.
    """

    def __init__(self, limit: int, all_taken: Callable[[], None]) -> None:
        self.error: Exception | None = None  # why the channel was closed
        self._limit = limit
        self._taken = all_taken
        self._waiting: deque[Event] = deque()  # bounded by `put`, which does not drop silently as `maxlen` would
        self._arrived = asyncio.Event()  # an event, or the end
        self._closed = False
        self._fatal = False  # iteration raises `error`
        self._watcher: Callable[[], None] | None = None  # hears of an event, and of the end

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        while (event := self.take()) is None:
            if self.fatal is not None:
                raise self.fatal
            if self._closed:
                raise StopAsyncIteration
            self._arrived.clear()
            await self._arrived.wait()
        return event

    def watch(self, watcher: Callable[[], None]) -> None:
        """Have `watcher` called whenever iteration would go on."""
        self._watcher = watcher

    def take(self) -> Event | None:
        """Return the next event, if one waits."""
        if not self._waiting:
            self._taken()
            return None
        return self._waiting.popleft()

    @property
    def waiting(self) -> int:
        """The number of events that wait; never more than the limit."""
        return len(self._waiting)

    @property
    def closed(self) -> bool:
        """Whether it takes no more events."""
        return self._closed

    @property
    def over(self) -> bool:
        """Whether iteration ends now."""
        return self._closed and not self._waiting

    @property
    def fatal(self) -> Exception | None:
        """The error that iteration raises at its end."""
        return self.error if self._fatal else None

    def put(self, event: Event) -> bool:
        """Let an event wait, if there is room."""
        if len(self._waiting) >= self._limit:
            return False
        self._waiting.append(event)
        self._tell()
        return True

    def end(self, error: Exception | None, *, fatal: bool, now: bool) -> bool:
        """End iteration after the events that wait, or `now`. Return False if it had an end before."""
        if now:
            self._waiting.clear()
        if self._closed:
            return False
        self._closed, self.error, self._fatal = True, error, fatal
        self._tell()
        return True

    def _tell(self) -> None:
        self._arrived.set()
        if self._watcher is not None:
            self._watcher()
