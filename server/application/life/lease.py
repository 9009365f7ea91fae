"""Saying that this replica lives, and looking at the others."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress

from server.domain.errors import MaruError
from server.domain.replicas import ReplicaState
from server.ports.replicas import RENEW_S, Replicas

RETRY_S = 1.0
"""After a renewal that failed."""

LEAVE_S = 0.5
"""How long a stop waits for the end of the lease; after that it ends by itself."""


class Lease:
    """Renews the lease of this replica, which is in the `state` that is told."""

    def __init__(self, replicas: Replicas, state: Callable[[], ReplicaState]) -> None:
        self.living = 1  # replicas, at the last look, this one included
        self._replicas, self._state = replicas, state
        self._due = asyncio.Event()  # at once
        self._left = False

    async def run(self, numbers: Callable[[], Mapping[str, float]]) -> None:
        """Renew with the numbers of the moment every 5 s, and if `renew_soon` is called, until cancelled."""
        while True:
            self._due.clear()
            pause = RENEW_S if await self._renew(numbers) else RETRY_S
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._due.wait()

    def renew_soon(self) -> None:
        """Renew without waiting for the time: the state has changed."""
        self._due.set()

    async def leave(self) -> None:
        """End the lease for good. Takes half a second at most."""
        self._left = True
        with suppress(MaruError, TimeoutError):
            async with asyncio.timeout(LEAVE_S):
                await self._replicas.leave()

    async def _renew(self, numbers: Callable[[], Mapping[str, float]]) -> bool:
        """Return whether the others know that this replica lives, or are not to know."""
        try:
            if not self._left:
                await self._replicas.renew(self._state(), numbers())
                self.living = max(1, len(await self._replicas.living()))
        except MaruError:
            return False
        return True
