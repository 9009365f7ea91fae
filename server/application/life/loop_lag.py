"""How late the event loop is: a delay that every client has in addition, whatever it asks for."""

import asyncio
from collections.abc import Callable

from server.application.life.overload import Overload
from server.ports.metrics import LoopMetrics

LOOK_S = 0.1
"""Between two measurements. Only the part of a pause after a measurement was due is seen: of pauses of 40 ms, 4 in 10
show at all; every pause that is longer than this does."""


async def measure_lag(metrics: LoopMetrics, overload: Overload, clock: Callable[[], float]) -> None:
    """Sleep, and tell by how much each sleep was too long, until cancelled. `clock` is monotonic, in seconds."""
    while True:
        due = clock() + LOOK_S
        await asyncio.sleep(LOOK_S)
        now = clock()
        metrics.loop_lagged(now - due)
        overload.look(now - due, now)
