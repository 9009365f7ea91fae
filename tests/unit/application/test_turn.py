"""One task's share of the event loop."""

import asyncio
import time

from server.application.turn import TURN_S, Turn, in_turns


def work(seconds: float) -> None:
    """Use the processor for so long."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        pass


async def test_a_turn_is_over_after_its_time() -> None:
    """Work ends it, and `pass_on` returns when the others have had theirs."""
    turn = Turn()
    work(TURN_S)
    assert turn.over()
    others: list[int] = []
    for number in range(3):
        asyncio.get_running_loop().call_soon(others.append, number)
    await turn.pass_on()
    assert others == [0, 1, 2]


async def test_a_loop_gives_others_their_turns() -> None:
    """Between two items, once its own is over; every item comes, in order."""
    others: list[int] = []
    seen: list[tuple[int, int]] = []
    asyncio.get_running_loop().call_soon(others.append, 0)
    async for item in in_turns(range(3)):
        seen.append((item, len(others)))
        if item == 1:
            work(TURN_S)
    assert [item for item, _ in seen] == [0, 1, 2]
    assert seen[-1] == (2, 1)
