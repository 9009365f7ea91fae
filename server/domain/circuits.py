"""Circuit breakers: stop calling a service for a while if it does not answer."""

from collections import deque

WINDOW_S = 10
"""Seconds over which calls and failures are counted."""

MIN_CALLS = 20
"""Calls within the window below which a circuit stays closed: of a few calls, half may fail by chance."""

OPEN_S = 5.0
"""How long nobody is called; then a single call probes."""


class Circuit:
    """Decides whether to call. Pure: `now` is monotonic, in seconds.

    Closed, it lets every call through. It opens if at least `MIN_CALLS` calls ended within the last `WINDOW_S` seconds
    and half of them failed. After `OPEN_S` a single call is let through: if it succeeds the circuit closes, else it
    stays open as long again. Each call is let through by `begin`, and reported by one of the other methods; the report
    of a call that began before the circuit opened or closed changes nothing.
    """

    def __init__(self) -> None:
        self._slots: deque[list[int]] = deque()  # second, calls, failures; the oldest first
        self._era = 0  # counts how often the circuit opened or closed
        self._opened_at: float | None = None  # None if it is closed
        self._probing = False  # whether the single call is under way

    @property
    def is_open(self) -> bool:
        """Whether calls are held back."""
        return self._opened_at is not None

    def begin(self, now: float) -> int | None:
        """Return the era of a call that may be made, to be given back with its report; None if it may not."""
        if self._opened_at is not None:
            if self._probing or now < self._opened_at + OPEN_S:
                return None
            self._probing = True
        return self._era

    def succeeded(self, era: int, now: float) -> bool:
        """Report an answer. Return whether the circuit closes by it."""
        if era != self._era:
            return False
        if self._opened_at is None:
            self._slot(now)[1] += 1
            return False
        self._turn(None)
        return True

    def failed(self, era: int, now: float) -> bool:
        """Report a failure. Return whether a closed circuit opens by it."""
        if era != self._era:
            return False
        if self._opened_at is not None:
            self._turn(now)
            return False
        slot = self._slot(now)
        slot[1] += 1
        slot[2] += 1
        calls = sum(calls for _, calls, _ in self._slots)
        failures = sum(failures for _, _, failures in self._slots)
        if calls < MIN_CALLS or 2 * failures < calls:
            return False
        self._turn(now)
        return True

    def gave_up(self, era: int) -> None:
        """Report a call that ended without telling anything."""
        if era == self._era:
            self._probing = False

    def _turn(self, opened_at: float | None) -> None:
        self._era += 1
        self._opened_at = opened_at
        self._probing = False
        self._slots.clear()

    def _slot(self, now: float) -> list[int]:
        """Return the slot of this second; forget those that are too old."""
        second = int(now)
        while self._slots and self._slots[0][0] <= second - WINDOW_S:
            self._slots.popleft()
        if not self._slots or self._slots[-1][0] != second:
            self._slots.append([second, 0, 0])
        return self._slots[-1]
