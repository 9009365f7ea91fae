"""Telling the replicas that host a channel of short-lived facts."""

from collections.abc import AsyncIterator
from typing import Protocol

from server.domain.signals import Signal

SIGNALS_LIMIT = 10_000
"""Signals that may wait for the listener."""


class Signals(Protocol):
    """Signals of channels, beside the hints of `Broadcast`. A signal may be lost; nobody waits for it.

    1. `publish` never waits and never raises. What can't be sent is dropped, and counted.
    2. A signal reaches every replica that has subscribed to its channel by `Broadcast.subscribe`, this one included, or
       some of them, or none. It reaches no replica twice, and others need not get it.
    3. The signals that one replica publishes in a channel are heard in their order.
    4. A single task iterates over `listen`. At most `SIGNALS_LIMIT` signals wait for it; then the oldest is dropped,
       and counted.
    """

    @property
    def dropped(self) -> int:
        """How many signals were dropped here, since the start. Promises 1, 4."""
        ...

    def publish(self, signal: Signal) -> None:
        """Tell the others. Promises 1-3."""
        ...

    def listen(self) -> AsyncIterator[Signal]:
        """Iterate over the signals of the subscribed channels. Promises 2-4."""
        ...
