"""The rate at which a session may enter channels that this replica does not host."""

from collections.abc import Callable
from math import ceil

from server.domain.errors import RateLimited
from server.domain.gcra import Rate, take
from server.domain.identity import SessionId

BURST = 1_200
"""New channels at once."""

NEW_CHANNELS = Rate(per_s=10.0, burst=BURST)
"""A client with 500 channels may resume twice in a minute; a client that makes up names can't keep the log and the
broker busy."""


class NewChannels:
    """A bucket for each session that has entered a new channel. `clock` is monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._earned: dict[SessionId, float] = {}

    def check(self, session: SessionId) -> None:
        """Count a new channel of the session. Raises `RateLimited`."""
        earned, wait = take(self._earned.get(session, 0.0), NEW_CHANNELS, self._clock())
        if wait:
            raise RateLimited(
                "too many new channels in too short a time",
                details={"limit": NEW_CHANNELS.burst},
                retry_after_ms=ceil(wait * 1000),
            )
        self._earned[session] = earned

    def end(self, session: SessionId) -> None:
        """Forget a session that ends."""
        self._earned.pop(session, None)
