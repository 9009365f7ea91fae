"""A wall clock that stands still until a test moves it."""

from tests.doubles.samples import NOW_MS


class Clock:
    """Milliseconds since the Unix epoch."""

    def __init__(self) -> None:
        self.now = NOW_MS

    def __call__(self) -> int:
        return self.now
