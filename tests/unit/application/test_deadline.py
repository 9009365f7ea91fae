"""The bound on what a command waits for."""

import asyncio

import pytest

from server.application.deadline import COMMAND_DEADLINE_S, deadline
from server.domain.errors import NotFound, Unavailable


async def test_what_is_in_time_passes() -> None:
    """A wait that ends before the deadline is let through, with its result."""
    async with deadline(1.0):
        result = await asyncio.sleep(0.999, "done")
    assert result == "done"


async def test_what_is_late_is_unavailable() -> None:
    """A wait for ever becomes `Unavailable` at the deadline, below the promised 2 s, with the cause chained."""
    began = asyncio.get_running_loop().time()
    with pytest.raises(Unavailable, match=r"within 1\.8 s") as late:
        async with deadline():
            await asyncio.Event().wait()
    assert isinstance(late.value.__cause__, TimeoutError)
    assert asyncio.get_running_loop().time() - began == pytest.approx(COMMAND_DEADLINE_S)
    assert COMMAND_DEADLINE_S < 2.0


async def test_other_errors_pass_as_they_are() -> None:
    """What the log says in time is not touched."""
    with pytest.raises(NotFound):
        async with deadline():
            raise NotFound("no such message")


async def test_a_cancellation_stays_one() -> None:
    """Who is cancelled while it waits is cancelled, not told that the log is away."""

    async def wait() -> None:
        async with deadline():
            await asyncio.Event().wait()

    waiting = asyncio.create_task(wait())
    await asyncio.sleep(0.1)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert waiting.cancelled()
