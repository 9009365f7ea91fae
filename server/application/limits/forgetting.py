"""Buckets that are full again are forgotten, in steps."""

import asyncio
from collections.abc import Callable, Iterable

SWEEP_S = 1.0
"""Seconds between two steps."""


async def forget_full(sweeps: Iterable[Callable[[], None]]) -> None:
    """Sweep, until cancelled."""
    while True:
        await asyncio.sleep(SWEEP_S)
        for sweep in sweeps:
            sweep()
