"""One task's share of the event loop."""

import asyncio
import time

from server.application.turn import TURN_S, Turn


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
