"""The bound on what a command waits for."""

import asyncio
import contextlib

import pytest

from server.application.deadline import COMMAND_DEADLINE_S, PUT_OFFS, deadline
from server.domain.errors import NotFound, Unavailable
from tests.doubles.virtual_time import VirtualTimeLoop


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


async def test_many_waits_share_a_watch_and_each_ends_at_its_own_time() -> None:
    """Begun one after another and ended in any order, each is judged by its own beginning; what comes after a pause is
    watched over too."""
    loop = asyncio.get_running_loop()
    ended: dict[int, tuple[object, bool]] = {}

    async def wait(number: int, seconds: float) -> None:
        began = loop.time()
        try:
            async with deadline():
                await asyncio.sleep(seconds)
        except Unavailable:
            ended[number] = (loop.time() - began, False)
        else:
            ended[number] = (loop.time() - began, True)

    for _ in range(2):
        async with asyncio.TaskGroup() as tasks:
            for number, seconds in enumerate((1.0, 9.0, 0.1, 1.7, 9.0, 0.2)):
                tasks.create_task(wait(number, seconds))
                await asyncio.sleep(0.3)
        assert ended == {
            0: (pytest.approx(1.0), True),
            1: (pytest.approx(COMMAND_DEADLINE_S), False),
            2: (pytest.approx(0.1), True),
            3: (pytest.approx(1.7), True),
            4: (pytest.approx(COMMAND_DEADLINE_S), False),
            5: (pytest.approx(0.2), True),
        }
        ended.clear()
        await asyncio.sleep(10.0)


async def test_a_deadline_within_another_ends_what_it_bounds() -> None:
    """The inner one's end is the outer one's business like any other error; a cancellation that comes in the same
    moment as the deadline is not lost."""
    with pytest.raises(Unavailable, match=r"within 1\.0 s"):
        async with deadline(), deadline(1.0):
            await asyncio.Event().wait()

    async def wait() -> None:
        async with deadline():
            await asyncio.Event().wait()

    waiting = asyncio.create_task(wait())
    asyncio.get_running_loop().call_later(COMMAND_DEADLINE_S, waiting.cancel)
    await asyncio.wait([waiting])
    assert waiting.cancelled()


async def test_time_in_which_the_event_loop_is_busy_does_not_count() -> None:
    """After a stall over the deadline there is time for the answer; a wait for ever ends all the same."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    answer = loop.create_future()

    async def wait(event: asyncio.Future[None]) -> float:
        with contextlib.suppress(Unavailable):
            async with deadline():
                await event
        return loop.time()

    began = loop.time()
    answered, asked = asyncio.create_task(wait(answer)), asyncio.create_task(wait(loop.create_future()))
    await asyncio.sleep(1.0)
    loop.stall(3.0)
    loop.call_later(0.5, answer.set_result, None)
    assert await answered == pytest.approx(began + 4.5)
    late = 4.0 - COMMAND_DEADLINE_S
    assert await asked == pytest.approx(began + 4.0 + late)


async def test_a_deadline_is_put_off_some_times() -> None:
    """A loop that is busy again and again does not keep a client waiting for ever."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)

    async def wait() -> float:
        with contextlib.suppress(Unavailable):
            async with deadline():
                await loop.create_future()
        return loop.time()

    began = loop.time()
    waiting = asyncio.create_task(wait())
    await asyncio.sleep(1.7)
    while not waiting.done():
        loop.stall(0.5)
        await asyncio.sleep(0.01)
    late = 1.7 + 0.51 * (2 + PUT_OFFS)
    assert await waiting <= began + late + 0.5
