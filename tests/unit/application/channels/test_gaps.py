"""Gaps: a hint that is late is waited for, and an event whose hint is lost is read from the log."""

import asyncio
from contextlib import AsyncExitStack
from random import Random

import pytest

from server.adapters.memory.message_log import MemoryMessageLog
from server.application.channels.repair import GAP_S
from server.application.commands import Send
from server.domain.events import Event
from server.domain.identity import SessionId
from server.ports.broadcast import LinkRestored
from tests.doubles.chaotic_broadcast import Broker, BrokerLink
from tests.doubles.faulty_log import FaultyLog
from tests.doubles.hub_stage import FOREIGN, HubStage, offsets
from tests.doubles.metrics import RecordingMetrics
from tests.doubles.replica import Replica, replica
from tests.doubles.samples import HOUR_MS, ROOM, identity
from tests.doubles.virtual_time import virtually

WRITES = 2_000
"""Of each replica, one a millisecond."""


async def test_a_late_hint_costs_no_read(stage: HubStage) -> None:
    """Two hints that cross fill the gap by themselves, within `GAP_S`."""
    inbox = await stage.member()
    written = await stage.write(2)
    reads = stage.log.reads
    stage.hint(written[1])
    await asyncio.sleep(GAP_S * 0.9)
    stage.hint(written[0])
    await asyncio.sleep(GAP_S * 10)
    assert (inbox, stage.log.reads) == (written, reads)


async def test_hints_that_keep_crossing_cost_no_read(stage: HubStage) -> None:
    """Each gap has its own time, even if there is a gap at every moment."""
    inbox = await stage.member()
    written = await stage.write(40)
    reads = stage.log.reads
    stage.hint(written[1])
    for number in range(0, 38, 2):
        await asyncio.sleep(GAP_S * 0.7)
        stage.hint(written[number + 3], written[number])
    stage.hint(written[38])
    await asyncio.sleep(GAP_S * 10)
    assert (inbox, stage.log.reads) == (written, reads)


async def test_a_lost_hint_is_not_waited_for_longer(stage: HubStage) -> None:
    """After `GAP_S` the log is read once, although more hints come behind the gap."""
    inbox = await stage.member()
    written = await stage.write(12)
    reads = stage.log.reads
    for number in range(1, 11):
        stage.hint(written[number])
        await asyncio.sleep(GAP_S * 0.1)
    await stage.replica.transport.until(lambda: len(inbox) >= 11)
    assert stage.log.reads == reads + 1
    stage.hint(written[11])
    await stage.until(inbox, 12)
    assert inbox == written


async def test_the_gap_of_a_channel_that_is_released_is_forgotten(stage: HubStage) -> None:
    """Nothing is read for it."""
    hosted = await stage.replica.hub.host(FOREIGN)
    written = await stage.write(2, FOREIGN)
    reads = stage.log.reads
    stage.hint(written[1])
    hosted.empty_since -= 1_000
    await asyncio.sleep(GAP_S * 0.5)
    await stage.replica.hub.release_empty()
    await asyncio.sleep(GAP_S)
    assert (stage.log.reads, stage.replica.hub.hosted) == (reads, 0)


class SlowLink(BrokerLink):
    """A link over which each hint takes 0 to 10 ms, and some are lost."""

    lost = 0.0
    random = Random(7)

    def travel(self, event: Event) -> None:
        if self.random.random() >= self.lost:
            asyncio.get_running_loop().call_later(self.random.random() * 0.010, self.arrive, event)


async def write(by: Replica) -> None:
    """Send a message each millisecond."""
    for number in range(WRITES):
        await by.publisher.send(identity("writer"), Send(channel=ROOM, text=f"message {number}"))
        await asyncio.sleep(0.001)


@pytest.mark.parametrize("lost", [0.0, 0.001])
def test_two_replicas_that_write_into_a_channel(lost: float) -> None:
    """Hints cross at 2,000 messages a second. Only those that are lost count as healed, and everything arrives."""

    async def live() -> None:
        log, broker, metrics = MemoryMessageLog(max_events=10_000, max_age_ms=HOUR_MS), Broker(), RecordingMetrics()
        async with AsyncExitStack() as stack:
            replicas: list[Replica] = []
            for _ in range(2):
                link = SlowLink(broker)
                link.lost = lost
                broker.links.append(link)
                replicas.append(await stack.enter_async_context(replica(FaultyLog(log), link, metrics=metrics)))
            inboxes = [one.transport.connect(SessionId("reader")) for one in replicas]
            for one in replicas:
                await one.hub.host(ROOM)
                one.transport.enter(SessionId("reader"), ROOM)
            await asyncio.gather(*map(write, replicas))
            await asyncio.sleep(1.0)
            for each in broker.links:
                each.arrive(LinkRestored())
            await asyncio.sleep(1.0)
        for inbox in inboxes:
            assert offsets(inbox) == [*range(1, 2 * WRITES + 1)]
        healed = len(metrics.of("gap_healed"))
        assert healed == 0 if lost == 0.0 else 1 <= healed <= 4 * WRITES * lost * 3

    virtually(live)
