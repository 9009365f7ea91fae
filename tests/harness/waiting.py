"""Waiting for a condition, with a deadline."""

import asyncio
from collections.abc import Awaitable, Callable


async def until(holds: Callable[[], bool], changed: asyncio.Event, timeout: float, problem: Callable[[], str]) -> None:
    """Wait until a condition holds. It is checked whenever `changed` is set, which any number of waiters may share."""
    try:
        async with asyncio.timeout(timeout):
            while not holds():
                changed.clear()
                await changed.wait()
    except TimeoutError:
        raise AssertionError(f"not within {timeout} s: {problem()}") from None


async def pause(over: asyncio.Event, seconds: float) -> bool:
    """Wait for an event for a limited time; return whether it has come."""
    try:
        async with asyncio.timeout(seconds):
            await over.wait()
    except TimeoutError:
        return False
    return True


async def polled(
    holds: Callable[[], bool | Awaitable[bool]], timeout: float, problem: Callable[[], str], every_s: float = 0.02
) -> None:
    """Wait for a condition of which no event tells: check it again and again."""
    try:
        async with asyncio.timeout(timeout):
            while True:
                held = holds()
                if held if isinstance(held, bool) else await held:
                    return
                await asyncio.sleep(every_s)
    except TimeoutError:
        raise AssertionError(f"not within {timeout} s: {problem()}") from None
