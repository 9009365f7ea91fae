"""The users that are online in a deployment of a single process."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence

from server.adapters.clock import now_ms
from server.domain.identity import UserId
from server.domain.presence import UserStatus
from server.ports.presence import SEEN_S, Online, RostersLost

SEEN_LIMIT = 1_000_000
"""Users of whom is known when they were last online. The one that has been offline longest is forgotten."""


class MemoryOnline(Online):
    """Counts the sessions of this process."""

    def __init__(self, seen_limit: int = SEEN_LIMIT, *, now_ms: Callable[[], int] = now_ms) -> None:
        self._now_ms, self._seen_limit = now_ms, seen_limit
        self._sessions: dict[UserId, int] = {}
        self._seen: OrderedDict[UserId, int] = OrderedDict()  # by user, offline since when; the longest first

    async def count(self, sessions: Mapping[UserId, int]) -> Sequence[UserStatus]:
        """Set the numbers. Promise 1."""
        changed = []
        for user, number in sessions.items():
            if number > 0:
                came = user not in self._sessions
                self._sessions[user] = number
                self._seen.pop(user, None)
            elif came := self._sessions.pop(user, 0) > 0:
                self._seen[user] = self._now_ms()
            if came:
                changed.append(self._status(user))
        self._forget()
        return changed

    async def status(self, users: Sequence[UserId]) -> Sequence[UserStatus]:
        """Return what is known. Promise 2."""
        self._forget()
        return [self._status(user) for user in users]

    async def reaped(self) -> AsyncIterator[UserStatus | RostersLost]:
        """No other replica's sessions could be left."""
        await asyncio.Event().wait()
        yield RostersLost()

    def _status(self, user: UserId) -> UserStatus:
        number = self._sessions.get(user, 0)
        return UserStatus(user, number > 0, number, None if number else self._seen.get(user))

    def _forget(self) -> None:
        oldest = self._now_ms() - SEEN_S * 1_000
        while self._seen and (len(self._seen) > self._seen_limit or next(iter(self._seen.values())) < oldest):
            self._seen.popitem(last=False)
