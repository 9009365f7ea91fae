"""Changes of rosters that wait for their listener: bounded, and told if some are missing."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator

from server.domain.presence import RosterChanged
from server.ports.presence import CHANGES_LIMIT, RostersLost


class RosterQueue:
    """A queue with a single listener, of `limit` changes: over it all are dropped, and `RostersLost` is in their place.
    `dropped` counts them."""

    def __init__(self, limit: int = CHANGES_LIMIT) -> None:
        self.dropped = 0
        self._limit = limit
        self._waiting: deque[RosterChanged | RostersLost] = deque()
        self._arrived = asyncio.Event()

    def put(self, change: RosterChanged) -> None:
        """Queue a change."""
        if len(self._waiting) >= self._limit:
            self.dropped += len(self._waiting)
            self.put_lost()
        self._waiting.append(change)
        self._arrived.set()

    def put_lost(self) -> None:
        """Queue `RostersLost`, in place of all that waits: rosters are read again."""
        self._waiting.clear()
        self._waiting.append(RostersLost())
        self._arrived.set()

    async def listen(self) -> AsyncIterator[RosterChanged | RostersLost]:
        """Yield the changes, in order."""
        while True:
            while self._waiting:
                yield self._waiting.popleft()
            self._arrived.clear()
            await self._arrived.wait()
