"""The lease by which the entries of this replica hold."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from server.domain.errors import MaruError
from server.ports.presence import Presence
from server.ports.replicas import RENEW_S

RETRY_S = 1.0
"""After a renewal that failed."""

LAST_BREATH_S = 10.0
"""How long the entries hold when the replica has ended: clients that it has sent away are elsewhere by then."""

HAND_OVER_S = 0.5
"""How long a stop waits until that is said. After that the lease ends by itself."""


class PresenceLease:
    """Renews the lease; `lost` is called if it had ended."""

    def __init__(self, store: Presence, lost: Callable[[], None]) -> None:
        self._store = store
        self._lost = lost
        self._handed_over = False
        self.away = False
        """Whether the last renewal failed."""

    async def run(self) -> None:
        """Renew until cancelled; not after `hand_over`."""
        while True:  # noqa: ASYNC110  # it is the time that is waited for
            await asyncio.sleep(RENEW_S if await self._renew() else RETRY_S)

    async def hand_over(self) -> None:
        """Let the entries hold for a last while. Takes half a second at most."""
        self._handed_over = True
        with suppress(MaruError, TimeoutError):
            async with asyncio.timeout(HAND_OVER_S):
                await self._store.hand_over(LAST_BREATH_S)

    async def _renew(self) -> bool:
        if self._handed_over:
            return True
        try:
            held = await self._store.renew()
        except MaruError:
            self.away = True
            return False
        self.away = False
        if not held:
            self._lost()
        return True
