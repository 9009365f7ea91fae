"""Speakers that send at a steady pace."""

import asyncio
import itertools
import random
from collections.abc import Awaitable, Callable, Iterable

from tests.harness.waiting import pause

Speaker = Callable[[int], Awaitable[object]]
"""Says its message with this number; returns when it is acked."""


class Talk:
    """Each speaker says something every `every_s`, with at most `in_flight` messages unanswered at a time.

    The speakers begin at random, within the first of these intervals.
    """

    def __init__(self, speakers: Iterable[Speaker], every_s: float, in_flight: int = 1) -> None:
        self._every_s, self._in_flight = every_s, in_flight
        self._over = asyncio.Event()
        self._tasks = [asyncio.get_running_loop().create_task(self._speak(speaker)) for speaker in speakers]

    async def hush(self, timeout: float) -> bool:
        """Let nobody begin a message; return whether all that were said are answered in time."""
        self._over.set()
        if not self._tasks:
            return True
        _, pending = await asyncio.wait(self._tasks, timeout=timeout)
        return not pending

    async def end(self) -> None:
        """End at once. Raises the error of a speaker."""
        for task in self._tasks:
            task.cancel()
        results = await asyncio.gather(*self._tasks, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise result

    async def _speak(self, speaker: Speaker) -> None:
        slots, wait_s = asyncio.Semaphore(self._in_flight), random.random() * self._every_s
        async with asyncio.TaskGroup() as messages:
            for number in itertools.count():
                if await pause(self._over, wait_s):
                    return
                await slots.acquire()
                message = messages.create_task(self._say(speaker, number))
                message.add_done_callback(lambda _: slots.release())
                wait_s = self._every_s

    @staticmethod
    async def _say(speaker: Speaker, number: int) -> None:
        await speaker(number)
