"""Loops that belong together: if any fails, all end."""

import asyncio
from collections.abc import Coroutine
from typing import Any


async def first_to_fail(*loops: Coroutine[Any, Any, None]) -> None:
    """Run loops until any of them fails, end the others, raise its error. A cancellation is never taken for a failure,
    as a task group before Python 3.13 does where both come at once."""
    tasks = [asyncio.create_task(loop) for loop in loops]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
