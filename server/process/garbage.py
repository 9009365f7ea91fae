"""When the cyclic garbage collector runs: in idle moments, so that no client feels its pauses."""

import asyncio
import gc
import time

YOUNG, MIDDLE = 100_000, 50
"""New objects before the young generation is collected, and collections of it before the middle one is. Both are
large, since nearly all objects are freed by their reference count."""

NEVER = 1_000_000
"""Keeps the collector from full collections of its own: over the objects of all connections these are a pause that
every client feels."""

COLLECT_S = 60.0
"""Between two full collections."""

LOOK_S = 0.05
"""How long each look at the event loop takes."""

IDLE_LAG_S = 0.002
"""The event loop is idle if it ends a sleep at most this late."""

PATIENCE_S = 600.0
"""A loop that is never idle gets its full collection after this long."""


def settle() -> None:
    """Exempt the objects of start-up from collections, and leave full collections to `collect_when_idle`."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, MIDDLE, NEVER)


async def collect_when_idle() -> None:
    """Collect the garbage of all generations every `COLLECT_S`, in an idle moment. Runs until it is cancelled."""
    while True:
        await asyncio.sleep(COLLECT_S)
        deadline = time.monotonic() + PATIENCE_S
        while await _lag() > IDLE_LAG_S and time.monotonic() < deadline:
            pass
        gc.collect()


async def _lag() -> float:
    """Sleep for `LOOK_S`; return how late, in seconds, the loop ended the sleep."""
    due = time.monotonic() + LOOK_S
    await asyncio.sleep(LOOK_S)
    return time.monotonic() - due
