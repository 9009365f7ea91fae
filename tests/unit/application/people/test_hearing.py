"""Signals reach the use case of their kind."""

import asyncio

from server.adapters.memory.broadcast import MemoryBroadcast
from server.adapters.memory.signals import MemorySignals
from server.application.people.hearing import Hearing
from server.domain.identity import UserId
from server.domain.signals import ReadUpdated, Signal, TypingChanged
from tests.doubles.samples import ROOM


async def test_a_fault_costs_one_signal() -> None:
    """The use case of a kind hears its signals in order, also behind one that it fails at; others are passed over."""
    broadcast = MemoryBroadcast()
    await broadcast.subscribe(ROOM)
    signals, heard, done = MemorySignals(broadcast), list[Signal](), asyncio.Event()

    def act(signal: ReadUpdated) -> None:
        if signal.offset == 2:
            raise ValueError("a fault")
        heard.append(signal)
        if signal.offset == 3:
            done.set()

    hearing = Hearing(signals)
    hearing.on(ReadUpdated, act)
    task = asyncio.create_task(hearing.run())
    marks = [ReadUpdated(ROOM, UserId("alice"), offset) for offset in (1, 2, 3)]
    told: list[Signal] = [TypingChanged(ROOM, UserId("bob"), typing=True), *marks]
    for signal in told:
        signals.publish(signal)
    async with asyncio.timeout(5):
        await done.wait()
    task.cancel()
    assert heard == [marks[0], marks[2]]
