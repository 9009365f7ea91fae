"""The queue that takes a few items in each turn of the event loop."""

import asyncio
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from server.gateway.websocket.turn_queue import TurnQueue


async def turns(count: int = 1) -> None:
    """Let the event loop go round."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_a_put_does_nothing_at_once() -> None:
    """The first step comes in the next turn, and an idle queue takes up work again."""
    done: list[int] = []
    queue = TurnQueue(2, done.append)
    for number in range(3):
        queue.put(number)
        assert done == list(range(number))
        await turns()
        assert done == list(range(number + 1))


@settings(deadline=None)
@given(limit=st.integers(1, 5), count=st.integers(0, 23))
def test_each_turn_takes_its_share(limit: int, count: int) -> None:
    """Of many items each turn takes `limit`, in the order of the puts, until none is left."""

    async def scenario() -> None:
        done: list[int] = []
        queue = TurnQueue(limit, done.append)
        for number in range(count):
            queue.put(number)
        for turn in range(count // limit + 2):
            assert done == list(range(min(count, turn * limit)))
            await turns()

    asyncio.run(scenario())


async def test_a_failing_step_does_not_stop_the_others() -> None:
    """The error is logged, and the items behind have their steps: in the same turn and in later ones."""
    done: list[int] = []

    def step(number: int) -> None:
        if number in (0, 3):
            raise ValueError(number)
        done.append(number)

    queue = TurnQueue(2, step)
    with capture_logs() as lines:
        for number in range(6):
            queue.put(number)
        await turns()
        assert done == [1]
        await turns(2)
    assert done == [1, 2, 4, 5]
    assert [line["event"] for line in lines] == ["step.failed"] * 2


async def test_a_put_within_a_step_waits_for_the_next_turn() -> None:
    """What is put meanwhile joins the end of the queue and does not schedule a second turn beside the first."""
    done: list[str] = []

    def step(call: Callable[[], None]) -> None:
        call()

    queue = TurnQueue(2, step)

    def again(name: str, depth: int) -> None:
        done.append(name)
        if depth:
            queue.put(lambda: again(name, depth - 1))

    queue.put(lambda: again("a", 2))
    queue.put(lambda: again("b", 2))
    for count in (2, 4, 6, 6):
        await turns()
        assert len(done) == count
    assert done == ["a", "b"] * 3
