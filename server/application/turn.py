"""Giving other tasks a turn during work that waits for nothing."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from typing import TypeVar

T = TypeVar("T")

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


async def in_turns(items: Iterable[T]) -> AsyncIterator[T]:
    """Yield the items for a loop whose body waits for nothing; other tasks get their turns in between."""
    turn = Turn()
    for item in items:
        if turn.over():
            await turn.pass_on()
        yield item
