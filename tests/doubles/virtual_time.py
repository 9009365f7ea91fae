"""An event loop whose clock stands still while there is work, and jumps to the next timer when there is none.

A test of a 30 s deadline takes microseconds and is exact, and one that would wait for ever fails at once.
"""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import TypeVar

Ready = list[tuple[selectors.SelectorKey, int]]
T = TypeVar("T")


class _JumpingSelector(selectors.DefaultSelector):
    """Never waits: where the loop would, `now` jumps by that time."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> Ready:
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise RuntimeError("every task waits, and nothing is scheduled that could wake one")
            self.now += max(0.0, timeout)
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """For code without real I/O and threads: those take real time, which this loop does not wait for."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._jumping.now

    def stall(self, seconds: float) -> None:
        """Let the time pass without a turn, as work without an await does."""
        self._jumping.now += seconds


def virtually(scenario: Callable[[], Coroutine[object, object, T]]) -> T:
    """Run a scenario to its end on a virtual-time loop of its own."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(scenario())


async def turns(count: int) -> None:
    """Give the other tasks of the loop so many turns."""
    for _ in range(count):
        await asyncio.sleep(0)
