"""The queue of sessions that resume: who has a turn, and who comes next."""

import asyncio
import contextlib
from collections.abc import Callable

from server.application.channels.resume_queue import Place, ResumeQueue
from tests.doubles.virtual_time import turns


async def session(place: Place, channels: int, done: Callable[[], None]) -> None:
    """Resume so many channels; each takes some turns of the event loop."""
    for _ in range(channels):
        async with place:
            await turns(3)
            done()


async def order(queue: ResumeQueue, *sessions: tuple[str, int]) -> str:
    """Let sessions come in this order, all before the first is done; return who had which turn."""
    served: list[str] = []
    async with asyncio.TaskGroup() as tasks:
        for name, channels in sessions:
            tasks.create_task(session(queue.arrive(), channels, lambda name=name: served.append(name)))  # type: ignore[misc]
    return "".join(served)


async def test_sessions_that_have_begun_go_first() -> None:
    """A turn that ends begins one more session, if no other that has begun waits; of the others the newest is next."""
    assert await order(ResumeQueue(1), ("a", 3), ("b", 2), ("c", 2)) == "acacabb"


async def test_so_many_sessions_are_served_at_once() -> None:
    """The others wait until one of them is done."""
    assert await order(ResumeQueue(2), ("a", 2), ("b", 2), ("c", 2), ("d", 1)) == "abdabcc"


async def test_a_session_that_waits_elsewhere_holds_nobody_up() -> None:
    """Between two channels it has no turn: a client that reads slowly keeps no other client waiting."""
    queue = ResumeQueue(1)
    slow, quick = queue.arrive(), queue.arrive()
    async with slow:
        pass
    async with asyncio.timeout(1):
        await session(quick, 1, lambda: None)


async def test_a_session_that_gives_up_takes_no_turn() -> None:
    """Neither while it waits, nor if its turn comes in the moment in which it gives up."""
    queue = ResumeQueue(1)
    first, waiting, last = queue.arrive(), queue.arrive(), queue.arrive()
    done: list[int] = []
    for gone in ("before its turn", "with its turn"):
        async with first:
            task = asyncio.create_task(session(waiting, 1, lambda: done.append(1)))
            await turns(3)
            if gone == "before its turn":
                task.cancel()
                await turns(3)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    assert done == []
    async with asyncio.timeout(1):
        await session(last, 1, lambda: None)


async def test_a_session_that_is_gone_leaves_at_once() -> None:
    """It does not wait for its turn, and takes nobody else's; to be told twice, or outside of a wait, is no error."""
    queue = ResumeQueue(1)
    first, gone, last = queue.arrive(), queue.arrive(), queue.arrive()
    done: list[str] = []
    async with first:
        leaving = asyncio.create_task(session(gone, 1, lambda: done.append("gone")))
        waiting = asyncio.create_task(session(last, 1, lambda: done.append("last")))
        await turns(3)
        gone.gone()
        gone.gone()
        await leaving
        gone.gone()
        assert done == ["gone"]
        await turns(10)
        assert done == ["gone"]
    await waiting
    assert done == ["gone", "last"]
    async with asyncio.timeout(1):
        await session(first, 1, lambda: done.append("first"))
