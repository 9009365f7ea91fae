"""The rate at which a session may enter channels that this replica does not host."""

from collections.abc import Callable

from server.domain import rates
from server.domain.buckets import Buckets
from server.domain.errors import RateLimited
from server.domain.gcra import Rate, pace
from server.domain.identity import SessionId

BURST = 1_200
"""New channels at once."""

NEW_CHANNELS = Rate(per_s=10.0, burst=BURST)
"""A client with 500 channels may resume twice in a minute; a client that makes up names can't keep the log and the
broker busy."""


_PACE = pace(NEW_CHANNELS)


class NewChannels:
    """A bucket for each session that has entered a new channel. `clock` is monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._buckets = Buckets[SessionId]()

    def check(self, session: SessionId) -> None:
        """Count a new channel of the session. Raises `RateLimited`."""
        wait = self._buckets.take(session, _PACE, self._clock())
        if wait:
            raise RateLimited.by(rates.NEW_CHANNELS, wait, "too many new channels in too short a time")

    def end(self, session: SessionId) -> None:
        """Forget a session that ends."""
        self._buckets.forget(session)
