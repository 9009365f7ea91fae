"""How fast clients may come in: a token bucket for handshakes, so that a storm of them leaves time for those inside."""

import math
from collections.abc import Callable

RETRY_AFTER_CAP_S = 30
"""The longest wait that is ever asked for, in seconds."""


class Admission:
    """A token bucket (RFC 2697's committed rate and burst, counted in handshakes). `clock` is monotonic, in seconds.

    `rate` is in handshakes a second, 0 for no limit; `burst` is how many may come at once after a quiet time.
    """

    def __init__(self, rate: float, burst: int, clock: Callable[[], float]) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._tokens = float(burst)
        self._filled_at = clock()
        self._awaited = 0.0

    def wait_s(self) -> int:
        """Let one in: 0. Else how many whole seconds it should wait, until those turned away before it have come back,
        as they were told to: they are taken for a queue that moves on at the rate."""
        if not self._rate:
            return 0
        now = self._clock()
        filled = (now - self._filled_at) * self._rate
        self._filled_at = now
        self._tokens = min(self._burst, self._tokens + filled)
        self._awaited = max(0.0, self._awaited - filled)
        if self._tokens >= 1:
            self._tokens -= 1
            return 0
        self._awaited += 1
        return min(RETRY_AFTER_CAP_S, math.ceil((self._awaited - self._tokens) / self._rate))
