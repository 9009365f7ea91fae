"""How late the loop is: what is told of it."""

import asyncio
import contextlib
from random import Random

import pytest

from server.application.life.loop_lag import LOOK_S, measure_lag
from server.application.life.overload import Load, Overload
from tests.doubles.metrics import RecordingMetrics


async def lags(stalls: list[float], overload: Overload | None = None) -> list[float]:
    """What is told of a loop that stalls for so long within each look."""
    metrics, loop = RecordingMetrics(), asyncio.get_running_loop()
    stalled = 0.0

    def clock() -> float:
        return loop.time() + stalled

    measuring = asyncio.create_task(measure_lag(metrics, overload or Overload(lambda: 0.0, Random()), clock))
    for stall in stalls:
        await asyncio.sleep(LOOK_S / 2)
        stalled += stall
        await asyncio.sleep(LOOK_S / 2 + 0.001)
    measuring.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await measuring
    return [seconds for (seconds,) in metrics.of("loop_lagged") if isinstance(seconds, float)]


async def test_a_loop_in_time_lags_by_nothing() -> None:
    """Ten looks a second, each in time."""
    assert LOOK_S == 0.1
    assert await lags([0.0] * 4) == pytest.approx([0.0] * 4)


async def test_a_stall_is_the_lag_of_one_look() -> None:
    """The look that was due during it tells by how much it came too late; the next begins anew."""
    assert await lags([0.0, 1.5, 0.0]) == pytest.approx([0.0, 1.5, 0.0])


async def test_each_look_is_judged() -> None:
    """A loop that stalls again and again is busy."""
    overload = Overload(lambda: 0.0, Random())
    await lags([0.3] * 5, overload)
    assert overload.load is Load.BUSY
