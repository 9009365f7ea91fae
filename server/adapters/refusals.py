"""Refusals of hints and emits: each is counted, and a line a second tells of them, however many come."""

import time
from collections.abc import Callable

LINE_S = 1.0
"""Between two lines."""


class Refusals:
    """Counts refusals."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.count = 0
        self._monotonic = monotonic
        self._quiet_until = 0.0

    def add(self) -> bool:
        """Count a refusal. Return whether it is to have a log line, which tells the number so far."""
        self.count += 1
        now = self._monotonic()
        tells = now >= self._quiet_until
        if tells:
            self._quiet_until = now + LINE_S
        return tells
