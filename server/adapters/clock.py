"""Wall-clock time, as the logs and the events count it."""

import time


def now_ms() -> int:
    """Return whole milliseconds since the Unix epoch, UTC."""
    return time.time_ns() // 1_000_000
