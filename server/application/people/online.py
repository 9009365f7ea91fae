"""Counting the sessions of users, so that all replicas know who is online. Nobody waits for this."""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from server.domain.errors import MaruError
from server.domain.identity import UserId
from server.domain.presence import UserStatus
from server.ports.presence import ENTRIES_AT_ONCE, Online, RostersLost

LINGER_S = 10.0
"""A user whose last session here has ended stays online for so long: pages are loaded anew, connections are lost and
come back."""

STEP_S = 0.1
"""Between two calls of the store: a replica counts 10,000 users a second, at most."""

RETRY_S = 0.5
"""Pause after a call that failed."""


class Counting:
    """Counts what `number` says: how many sessions a user has on this replica. `told` gets the users that came online
    or went offline by this replica's doing; each is told once in a deployment, and may be lost with a replica. `clock`
    is monotonic, in seconds."""

    def __init__(
        self,
        store: Online,
        number: Callable[[UserId], int],
        clock: Callable[[], float],
        told: Callable[[UserStatus], None] = lambda _: None,
    ) -> None:
        self._store = store
        self._number = number
        self._clock = clock
        self._told = told
        self._waiting: dict[UserId, None] = {}  # users that are to be counted, the longest waiting first
        self._counted: set[UserId] = set()  # users of whom the store has sessions here
        self._until: dict[UserId, float] = {}  # users without a session: when they are gone
        self._lingers: deque[tuple[float, UserId]] = deque()  # the same, and some that came back, in the order of time

    @property
    def waiting(self) -> int:
        """How many users wait to be counted."""
        return len(self._waiting)

    def loops(self) -> tuple[Coroutine[Any, Any, None], ...]:
        """The tasks that run until the end of the process."""
        return self.run(), self._hear()

    def changed(self, user: UserId) -> None:
        """Count a user of whom a session has begun or ended."""
        if self._number(user):
            self._until.pop(user, None)
            self._waiting[user] = None
        else:
            self._until[user] = self._clock() + LINGER_S
            self._lingers.append((self._until[user], user))

    async def run(self) -> None:
        """Count until cancelled."""
        while True:
            self._end_lingers()
            users = [user for user, _ in zip(self._waiting, range(ENTRIES_AT_ONCE), strict=False)]
            try:
                await self._count(users)
            except MaruError:
                self._waiting |= dict.fromkeys(users)
                await asyncio.sleep(RETRY_S)
            await asyncio.sleep(STEP_S)

    def _end_lingers(self) -> None:
        now = self._clock()
        while self._lingers and self._lingers[0][0] <= now:
            until, user = self._lingers.popleft()
            if self._until.get(user) == until:
                del self._until[user]
                self._waiting[user] = None

    async def _count(self, users: Iterable[UserId]) -> None:
        """Count users as it is now; those that have just lost their last session keep their number."""
        numbers = dict[UserId, int]()
        for user in users:
            del self._waiting[user]
            if user not in self._until:
                numbers[user] = self._number(user)
        if not numbers:
            return
        changed = await self._store.count(numbers)
        for user, number in numbers.items():
            if number:
                self._counted.add(user)
            else:
                self._counted.discard(user)
        for status in changed:
            self._told(status)

    async def _hear(self) -> None:
        async for heard in self._store.reaped():
            if isinstance(heard, RostersLost):
                self._waiting |= dict.fromkeys(self._counted)
            else:
                self._told(heard)
