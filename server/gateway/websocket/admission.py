"""Limits the rate of handshakes, so that a storm of them leaves time for the clients that are connected."""

import math
from collections.abc import Callable

from server.gateway.websocket.crowds import Crowds, no_bounds

RETRY_AFTER_CAP_S = 30
"""The longest wait that a client is asked for, in seconds."""

KEPT_SHARE = 0.3
"""Share of the burst that is kept for clients that this server knows: strangers find the bucket empty before them."""

IsKnown = Callable[[str], bool]
"""Says whether a `Cookie` header has a cookie that this server gave to a user. Is asked only if that decides."""


def nobody(_: str) -> bool:
    """Know no client."""
    return False


def no_cookies() -> str:
    """Return the cookies of a client that has none."""
    return ""


class Admission:
    """A token bucket (RFC 2697's committed rate and burst, counted in handshakes). `clock` is monotonic, in seconds.

    `rate` is in handshakes a second, 0 for no limit; `burst` is how many are admitted at once after a quiet time, of
    which a share is kept for clients that `is_known` knows. `crowds` are the bounds of each client address.
    """

    def __init__(
        self,
        rate: float,
        burst: int,
        clock: Callable[[], float],
        is_known: IsKnown = nobody,
        crowds: Crowds | None = None,
    ) -> None:
        self.crowds = crowds or no_bounds()
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._is_known = is_known
        self._kept = 0 if is_known is nobody else int(burst * KEPT_SHARE)
        self._tokens = float(burst)  # handshakes that would be admitted now
        self._filled_at = clock()
        self._awaited = 0.0  # refused handshakes that have not had the time to come back

    def wait_s(self, cookies: Callable[[], str] = no_cookies) -> int:
        """Admit a handshake and return 0, or return how many whole seconds its client should wait.

        `cookies` returns the client's `Cookie` header.

        Refused clients are taken for a queue that advances at the rate: each is told to come back after those before.
        """
        if not self._rate:
            return 0
        now = self._clock()
        filled = (now - self._filled_at) * self._rate
        self._filled_at = now
        self._tokens = min(self._burst, self._tokens + filled)
        self._awaited = max(0.0, self._awaited - filled)
        left = self._tokens - self._kept
        if left >= 1 or (self._tokens >= 1 and self._kept and self._is_known(cookies())):
            self._tokens -= 1
            return 0
        self._awaited += 1
        return min(RETRY_AFTER_CAP_S, math.ceil((self._awaited - left) / self._rate))
