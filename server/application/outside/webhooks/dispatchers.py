"""The dispatchers of all endpoints: they run together, and end together."""

import asyncio
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from typing import Any

from server.application.outside.webhooks.dispatcher import Dispatcher
from server.application.outside.webhooks.lag import Lag

STOP_S = 6.0
"""Time to end all of them: for their requests, and for the store. A lead that is not handed over by then ends by
itself."""

OPEN_S = 3.0
"""A replica that starts waits so long for its endpoints to be open; the store may be away."""


class Dispatchers:
    """Runs and ends the dispatchers of a replica."""

    def __init__(self, dispatchers: Sequence[Dispatcher], lag: Lag) -> None:
        self._dispatchers = dispatchers
        self._lag = lag

    def loops(self) -> tuple[Coroutine[Any, Any, None], ...]:
        """Return the tasks of the dispatchers: they end after `stop`."""
        if not self._dispatchers:
            return ()
        return (*(dispatcher.run() for dispatcher in self._dispatchers), self._lag.run())

    async def opened(self) -> None:
        """Wait until every endpoint is open, but no longer than `OPEN_S`: a replica that starts accepts clients behind
        this, so that a new endpoint is told of their first events."""
        with suppress(TimeoutError):
            async with asyncio.timeout(OPEN_S):
                for dispatcher in self._dispatchers:
                    await dispatcher.lead.settled.wait()

    async def stop(self, within_s: float) -> None:
        """Let other replicas lead, within this time or `STOP_S`: a replica that drains begins with this."""
        with suppress(TimeoutError):
            async with asyncio.timeout(min(STOP_S, within_s)), asyncio.TaskGroup() as stops:
                for dispatcher in self._dispatchers:
                    stops.create_task(dispatcher.stop())
