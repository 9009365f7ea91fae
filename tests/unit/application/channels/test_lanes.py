"""Lanes: the hints of a channel whose events are still being written wait, and the other channels go on."""

import asyncio
from collections.abc import Sequence

from server.application.channels.hub import HINTS_PER_TURN
from server.application.channels.lanes import EVENTS_PER_LANE, WAITING_LIMIT, Lanes
from server.domain.events import Event
from tests.doubles.faulty_log import Gate
from tests.doubles.hub_stage import BOB, FOREIGN, HubStage, offsets
from tests.doubles.samples import ROOM, event
from tests.doubles.virtual_time import turns, virtually


def in_room(taken: Sequence[Event]) -> list[int]:
    """Return the offsets of the room's events."""
    return offsets([each for each in taken if each.channel == ROOM])


def test_a_busy_channel_waits_and_the_others_do_not() -> None:
    """`EVENTS_PER_LANE` events of a channel are passed on until everything is written, then as many more, in order."""

    async def live() -> None:
        taken: list[Event] = []
        gates = [Gate(), Gate(), Gate(), Gate()]
        opened = iter(gates)

        async def settled() -> None:
            await next(opened)()

        async with asyncio.TaskGroup() as tasks:
            lanes = Lanes(taken.append, settled, tasks)
            for offset in range(1, EVENTS_PER_LANE * 2 + 11):
                lanes.take(event(offset))
            await lanes.pause()
            await gates[0].reached.wait()
            lanes.take(event(1, channel=FOREIGN))
            assert [taken[-1].channel, len(taken)] == [FOREIGN, EVENTS_PER_LANE + 1]
            for number in (1, 2):
                gates[number - 1].open()
                await gates[number].reached.wait()
                assert len(in_room(taken)) == min(EVENTS_PER_LANE * (number + 1), EVENTS_PER_LANE * 2 + 10)
            lanes.take(event(EVENTS_PER_LANE * 2 + 11))
            gates[2].open()
            gates[3].open()
        assert in_room(taken) == [*range(1, EVENTS_PER_LANE * 2 + 12)]

    virtually(live)


def test_the_hints_that_wait_are_bounded() -> None:
    """Over `WAITING_LIMIT` the listener waits until some have been passed on."""

    async def live() -> None:
        taken: list[Event] = []
        gate = Gate()
        async with asyncio.TaskGroup() as tasks:
            lanes = Lanes(taken.append, gate, tasks)
            for offset in range(1, EVENTS_PER_LANE + WAITING_LIMIT + 1):
                lanes.take(event(offset))
            pausing = asyncio.create_task(lanes.pause())
            await turns(50)
            assert not pausing.done()
            gate.open()
            await pausing
        assert in_room(taken) == [*range(1, EVENTS_PER_LANE + WAITING_LIMIT + 1)]

    virtually(live)


async def test_the_listener_goes_on_beside_a_large_fan_out(stage: HubStage) -> None:
    """While a channel's events are being written to its many members, another channel's events are delivered."""
    inbox, other = await stage.member(), await stage.member(BOB, FOREIGN)
    gate = stage.replica.transport.settling = Gate()
    written, elsewhere = await stage.write(HINTS_PER_TURN * 4), await stage.write(3, FOREIGN, first=5_000)
    stage.hint(*written, *elsewhere)
    await gate.reached.wait()
    await turns(20)
    assert other == elsewhere
    assert inbox == written[:EVENTS_PER_LANE]
    gate.open()
    await stage.until(inbox, len(written))
    assert inbox == written
