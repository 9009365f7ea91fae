"""How late the event loop is: what every client waits in addition, whatever it asked for."""

import asyncio
from collections.abc import Callable

from server.ports.metrics import LoopMetrics

LOOK_S = 0.25
"""Between two looks. Of a pause, what lies after the moment at which one was due is seen: of those of 100 ms, 4 in 10
show at all, and every pause that is longer than this does."""


async def measure_lag(metrics: LoopMetrics, clock: Callable[[], float]) -> None:
    """Sleep, and tell by how much each sleep was too long, until cancelled. `clock` is monotonic, in seconds."""
    while True:
        due = clock() + LOOK_S
        await asyncio.sleep(LOOK_S)
        metrics.loop_lagged(clock() - due)
