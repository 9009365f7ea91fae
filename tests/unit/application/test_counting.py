"""What the use cases and the hub tell operators."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from server.adapters.memory.message_log import MemoryMessageLog
from server.application.channels.repair import GAP_S
from server.application.channels.resuming import Joined
from server.application.commands import Send
from server.application.deadline import COMMAND_DEADLINE_S
from server.domain.errors import Unavailable
from server.domain.events import Event
from server.domain.identity import SessionId
from server.domain.messages import Position
from server.domain.outcomes import ReplaySource
from server.domain.recovery import REPLAY_LIMIT, NotResumable
from server.domain.rings import RING_LIMIT
from server.ports.broadcast import LinkRestored
from tests.doubles.chaotic_broadcast import Broker, BrokerLink
from tests.doubles.faulty_log import FaultyLog, Gate
from tests.doubles.metrics import RecordingMetrics
from tests.doubles.replica import Replica, replica
from tests.doubles.samples import HOUR_MS, ROOM, identity, new_message
from tests.doubles.virtual_time import turns

ALICE = identity("alice")
HERS = SessionId("alice's")


@dataclass
class House:
    """A replica that tells, a log that can fail, and hints that arrive by hand."""

    log: FaultyLog
    link: BrokerLink
    replica: Replica
    metrics: RecordingMetrics
    written: int = 0

    async def write(self, count: int) -> list[Event]:
        """Append messages, and hint at none of them."""
        first, self.written = self.written + 1, self.written + count
        return [(await self.log.inner.append(new_message(number))).event for number in range(first, self.written + 1)]

    async def hint(self, *hints: Event | LinkRestored) -> None:
        """Let hints arrive, and be handled."""
        for hint in hints:
            self.link.arrive(hint)
        await turns(len(hints) + 20)

    async def resume(self, offset: int, epoch: str | None = None) -> None:
        """Alice comes back with a position."""
        own = (await self.log.inner.read(ROOM, 0, 0)).head.epoch
        await self.replica.subscriptions.join(HERS, ALICE, ROOM, ignored, Position(epoch or own, offset))


def ignored(_: Joined) -> None:
    """The answer to a join, in which nobody is interested here."""


@pytest.fixture
async def house() -> AsyncIterator[House]:
    """Over a log that keeps the last 500 events."""
    log, link = FaultyLog(MemoryMessageLog(max_events=500, max_age_ms=HOUR_MS)), Broker().link()
    metrics = RecordingMetrics()
    async with replica(log, link, metrics=metrics) as one:
        one.transport.connect(HERS)
        yield House(log, link, one, metrics)


# The hub


async def test_events_are_counted_as_they_take_their_place(house: House) -> None:
    """Each once, in order, however its hint came; a hint of what is known is a duplicate."""
    await house.replica.hub.host(ROOM)
    first, second, third = await house.write(3)
    await house.hint(first, first, third, second, second)
    assert house.metrics.of("ordered") == [(first,), (second,), (third,)]
    assert len(house.metrics.of("duplicate_dropped")) == 2


async def test_a_gap_that_the_log_fills_is_healed(house: House) -> None:
    """What hints did not bring is counted once for each read that brought some of it."""
    await house.replica.hub.host(ROOM)
    events = await house.write(3)
    await house.hint(events[2])
    await asyncio.sleep(GAP_S)  # the other hints may be late
    await turns(20)
    assert [event for (event,) in house.metrics.of("ordered")] == events
    assert len(house.metrics.of("gap_healed")) == 1


async def test_a_comparison_that_finds_nothing_heals_nothing(house: House) -> None:
    """Nor does one whose answer the hints have overtaken."""
    await house.replica.hub.host(ROOM)
    await house.hint(LinkRestored())
    gate = house.log.after = Gate()
    events = await house.write(2)
    await house.hint(LinkRestored())
    await gate.reached.wait()
    await house.hint(*events)
    gate.open()
    await turns(20)
    assert len(house.metrics.of("ordered")) == 2
    assert house.metrics.of("gap_healed") == []


# Coming back


async def test_a_resume_is_counted_by_its_result(house: House) -> None:
    """Each way in which it can end."""
    await house.write(written := 2_000)
    house.metrics.told.clear()
    await house.resume(written)
    await house.resume(written - REPLAY_LIMIT - 1)
    await house.resume(written - 600)
    await house.resume(written + 1)
    await house.resume(1, epoch="another")
    expected = [
        None,
        NotResumable.TOO_FAR_BEHIND,
        NotResumable.EXPIRED,
        NotResumable.AHEAD_OF_LOG,
        NotResumable.EPOCH_CHANGED,
    ]
    assert [reason for (reason,) in house.metrics.of("resumed")] == expected


async def test_a_replay_is_counted_by_its_source(house: House) -> None:
    """The ring where that is enough, else the log; nothing where nothing was missed, and a plain join is no resume."""
    await house.write(RING_LIMIT + 10)
    join = house.replica.subscriptions.join
    await join(HERS, ALICE, ROOM, ignored)
    await join(HERS, ALICE, ROOM, ignored, history=20)
    assert house.metrics.of("resumed") == []
    assert house.metrics.of("replayed") == [(ReplaySource.LOG,)]
    for offset in (RING_LIMIT + 10, RING_LIMIT, 0):
        await house.resume(offset)
    assert house.metrics.of("replayed")[1:] == [(ReplaySource.RING,), (ReplaySource.LOG,)]
    assert len(house.metrics.of("resumed")) == 3


# Writing


async def test_the_log_is_timed(house: House) -> None:
    """From the call to its return, for what is written and for what had been; not where the log refuses."""

    async def slowly() -> None:
        await asyncio.sleep(0.2)

    house.log.before = slowly
    publisher = house.replica.publisher
    await publisher.send(ALICE, Send(channel=ROOM, text="hi", key="one"))
    await publisher.send(ALICE, Send(channel=ROOM, text="hi", key="one"))
    house.log.error = Unavailable("the disk is full")
    with pytest.raises(Unavailable):
        await publisher.send(ALICE, Send(channel=ROOM, text="hi"))
    assert [seconds for (seconds,) in house.metrics.of("appended")] == pytest.approx([0.2, 0.2])


async def test_an_append_that_nobody_waits_for_any_more_is_timed_too(house: House) -> None:
    """A log that answers late shows as late, and not as nothing."""
    written = (await house.replica.publisher.send(ALICE, Send(channel=ROOM, text="hi"))).event
    house.metrics.told.clear()
    gate = house.log.after = Gate()
    with pytest.raises(Unavailable):
        await house.replica.publisher.send(ALICE, Send(channel=ROOM, text="again"))
    assert written.offset == 1
    gate.open()
    await turns(20)
    assert [seconds for (seconds,) in house.metrics.of("appended")] == [pytest.approx(COMMAND_DEADLINE_S)]
