"""The server's time, by which events and keys age: no replica's own clock is asked."""

import time

from server.adapters.clock import now_ms


class StoreClock:
    """Milliseconds since the Unix epoch, as the server that writes the streams has them: measured by `measure`, and
    counted on by this machine's monotonic clock. Before the first measurement, this machine's own time."""

    def __init__(self) -> None:
        self._ahead = now_ms() - _monotonic_ms()  # of the server's time, before the monotonic clock

    def now_ms(self) -> int:
        """Return the time."""
        return _monotonic_ms() + self._ahead

    def learn(self, began: int, server: int) -> None:
        """Take over a time of the server, of an entry that was written between `began` and now."""
        self._ahead = server - (began + _monotonic_ms()) // 2

    @staticmethod
    def began() -> int:
        """Return the time of the monotonic clock, for `learn`."""
        return _monotonic_ms()


def _monotonic_ms() -> int:
    return time.monotonic_ns() // 1_000_000
