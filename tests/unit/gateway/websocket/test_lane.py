"""The lane: answers in the order of the commands, whatever the order in which they come."""

import asyncio
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from server.gateway.websocket.lane import UNDER_WAY_LIMIT, Lane
from tests.doubles.virtual_time import turns, virtually


@dataclass
class Command:
    """A command under way."""

    frame: bytes | None = None


@given(st.permutations(range(8)))
def test_answers_are_written_in_the_order_of_the_commands(order: list[int]) -> None:
    """Each as soon as those before it are there."""
    written: list[bytes] = []
    lane = Lane(written.append)
    commands = [Command() for _ in order]
    for command in commands:
        lane.begin(command)
    there: set[int] = set()
    for number in order:
        commands[number].frame = b"%d" % number
        there.add(number)
        lane.answer()
        ready = next((each for each in range(len(order)) if each not in there), len(order))
        assert written == [b"%d" % each for each in range(ready)]
        assert len(lane) == len(order) - ready


def test_a_command_that_is_taken_back_is_not_answered() -> None:
    """The commands before it are."""
    written: list[bytes] = []
    lane = Lane(written.append)
    first = Command()
    lane.begin(first)
    lane.begin(Command(b"not this"))
    lane.take_back()
    first.frame = b"this"
    lane.answer()
    assert (written, len(lane)) == ([b"this"], 0)


def test_a_lane_takes_no_more_than_its_bound_and_nothing_behind_a_failure() -> None:
    """Then it takes commands again when there is room, and none once its sender has failed."""
    lane = Lane(lambda _: None)
    for _ in range(UNDER_WAY_LIMIT):
        assert lane.takes
        lane.begin(Command())
    assert (lane.is_full, lane.takes) == (True, False)
    lane.take_back()
    assert (lane.is_full, lane.takes) == (False, True)
    lane.sender.failed = True
    assert (lane.is_full, lane.takes) == (False, False)


def test_a_task_waits_until_few_enough_are_under_way() -> None:
    """It waits for nothing if they are already; a task that is cancelled leaves nothing behind."""

    async def scenario() -> None:
        lane = Lane(lambda _: None)
        commands = [Command() for _ in range(4)]
        for command in commands:
            lane.begin(command)
        await lane.shrunk(4)
        given_up = asyncio.create_task(lane.shrunk(2))
        await turns(2)
        given_up.cancel()
        await turns(2)
        waiting = asyncio.create_task(lane.shrunk(2))
        for number, command in enumerate(commands, 1):
            command.frame = b""
            lane.answer()
            await turns(2)
            assert waiting.done() == (number >= 2)

    virtually(scenario)
