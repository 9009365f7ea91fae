"""Giving other tasks a turn during work that waits for nothing."""

import asyncio
import time

TURN_S = 0.001
"""Seconds of work without a pause. Several clients may work in a turn of the event loop, and a handshake takes some
eight turns: ten busy clients cost a newcomer some 0.1 s."""


class Turn:
    """A task's share of the event loop. Ask `over` between two pieces of work, and `pass_on` if it is true."""

    __slots__ = ("_ends",)

    def __init__(self) -> None:
        self._ends = time.monotonic() + TURN_S  # not the loop's clock, which uvloop stops during a turn

    def over(self) -> bool:
        """Say whether the task has worked for `TURN_S` since its turn began."""
        return time.monotonic() > self._ends

    async def pass_on(self) -> None:
        """Let every other task that is ready run, then begin a new turn."""
        await asyncio.sleep(0)
        self._ends = time.monotonic() + TURN_S
