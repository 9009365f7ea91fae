"""Quarantine: a fault while a channel is handled costs that channel a while, and nothing and nobody else."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import pytest
from structlog.testing import capture_logs

from server.adapters.memory.message_log import MemoryMessageLog
from server.application.channels.healing import COMPARE_S, RETRY_S
from server.application.channels.hosting import LINGER_S
from server.application.channels.quarantine import FIRST_WAIT_S, LONGEST_WAIT_S, QUARANTINE_LIMIT, Quarantine
from server.application.channels.resuming import AWAY_S, Joined
from server.domain.channels import ChannelName
from server.domain.errors import NotFound, Unavailable
from server.domain.messages import Position
from server.domain.pushes import ChannelRemoved, ChannelResumed
from server.ports.broadcast import LinkRestored
from server.ports.message_log import MessageLog, Replay
from tests.doubles.chaotic_broadcast import Broker, BrokerLink
from tests.doubles.faulty_log import FaultyLog
from tests.doubles.hub_stage import ALICE, BOB, FOREIGN, HubStage, offsets
from tests.doubles.metrics import RecordingMetrics
from tests.doubles.replica import replica
from tests.doubles.samples import HOUR_MS, ROOM, encoded, identity
from tests.doubles.virtual_time import turns, virtually

FAULTS = [ValueError("damaged"), KeyError("damaged"), RecursionError(), Unavailable("damaged")]


class DamagedLog(FaultyLog):
    """A log in which some channels can't be read: reading raises `fault`."""

    def __init__(self, inner: MessageLog) -> None:
        super().__init__(inner)
        self.damaged: set[ChannelName] = set()
        self.fault: Exception = ValueError("damaged")
        self.tries: list[float] = []

    async def read(self, channel: ChannelName, after: int, limit: int) -> Replay:
        if channel in self.damaged:
            self.tries.append(asyncio.get_running_loop().time())
            raise self.fault
        return await super().read(channel, after, limit)


class FaultyLink(BrokerLink):
    """A broadcast that fails for a channel in a way that the port does not allow."""

    fails = False

    async def unsubscribe(self, channel: ChannelName) -> None:
        if self.fails:
            raise ZeroDivisionError
        await super().unsubscribe(channel)


@dataclass(frozen=True, slots=True)
class FaultyStage(HubStage):
    """A replica over a log that is damaged in places."""

    log: DamagedLog
    metrics: RecordingMetrics

    @property
    def faults(self) -> int:
        """How many faults were counted."""
        return len(self.metrics.of("quarantined"))

    async def heals(self, channel: ChannelName, inbox: list[object]) -> None:
        """Check that the channel works: an event without a hint before it is delivered."""
        count = len(inbox)
        written = await self.write(2, channel, first=1_000 + count)
        self.hint(written[1])
        await self.replica.transport.until(lambda: len(inbox) >= count + 2)
        assert inbox[count:] == written


@pytest.fixture
async def faulty() -> AsyncIterator[FaultyStage]:
    """A replica that hears the hints of the test."""
    log = DamagedLog(MemoryMessageLog(max_events=10_000, max_age_ms=HOUR_MS))
    broker, metrics = Broker(), RecordingMetrics()
    link = FaultyLink(broker)
    async with replica(log, link, metrics=metrics) as one:
        yield FaultyStage(log, broker, link, one, metrics)


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_damaged_channel_costs_no_other_channel(faulty: FaultyStage, fault: Exception) -> None:
    """Whatever a repair meets, the others are healed, the fault is one line and is counted, and once its cause is gone
    the members are given everything."""
    inbox, other = await faulty.member(), await faulty.member(BOB, FOREIGN)
    faulty.log.damaged, faulty.log.fault = {ROOM}, fault
    written = await faulty.write(3)
    with capture_logs() as lines:
        faulty.hint(written[2])
        await turns(50)
        await faulty.heals(FOREIGN, other)
        await asyncio.sleep(5 * RETRY_S)
        await faulty.heals(FOREIGN, other)
        faulty.log.damaged.clear()
        await faulty.until(inbox, 3)
    assert inbox == written
    assert faulty.faults >= 1
    told = [(line["event"], line["channel"]) for line in lines if line["event"].startswith("channel.")]
    assert told == [("channel.quarantined", ROOM), ("channel.released", ROOM)]
    assert not faulty.replica.hearing.done()


async def test_the_waits_grow_and_are_bounded(faulty: FaultyStage) -> None:
    """A channel is tried after 1, 2, 4 ... s, and once a minute at last, whatever hints and comparisons come."""
    await faulty.member()
    comparing = asyncio.create_task(faulty.replica.hub.compare())
    faulty.log.damaged = {ROOM}
    faulty.hint(LinkRestored())
    for number in range(40):
        await asyncio.sleep(10.0)
        faulty.hint(*(await faulty.write(1, first=number)))
    tries = [0.0, *(at - faulty.log.tries[0] for at in faulty.log.tries[1:])]
    assert tries[:9] == pytest.approx([0, 1, 3, 7, 15, 31, 63, 123, 183], abs=COMPARE_S / 100)
    assert max(b - a for a, b in itertools.pairwise(tries)) < LONGEST_WAIT_S + 0.1
    comparing.cancel()
    await asyncio.wait([comparing])


async def test_the_link_ends_the_waits(faulty: FaultyStage) -> None:
    """When the broker is back, a channel with a fault is tried at once: the cause may have been the outage."""
    inbox = await faulty.member()
    faulty.log.damaged = {ROOM}
    faulty.hint(LinkRestored())
    await asyncio.sleep(20.0)
    faulty.log.damaged.clear()
    written = await faulty.write(2)
    began = asyncio.get_running_loop().time()
    faulty.hint(LinkRestored())
    await faulty.until(inbox, 2)
    assert (inbox, asyncio.get_running_loop().time() - began < FIRST_WAIT_S) == (written, True)


async def test_an_event_that_cannot_be_delivered_is_neither_skipped_nor_repeated(faulty: FaultyStage) -> None:
    """A fault of the transport at one event holds that channel at this event; afterwards it goes on exactly there."""
    inbox, other = await faulty.member(), await faulty.member(BOB, FOREIGN)
    written = await faulty.write(4)
    faulty.replica.transport.poison = written[1]
    faulty.hint(written[1], written[2], written[0], written[3])
    await turns(50)
    await faulty.heals(FOREIGN, other)
    assert offsets(inbox) == [1]
    faulty.replica.transport.poison = None
    await faulty.until(inbox, 4)
    assert inbox == written


# Entering


async def join(stage: FaultyStage, channel: ChannelName = ROOM) -> Joined:
    """Join as Alice."""
    stage.replica.transport.connect(ALICE)
    joined: list[Joined] = []
    await stage.replica.subscriptions.join(ALICE, identity(), channel, joined.append, history=10)
    return joined[0]


async def test_an_opening_that_fails_is_unavailable(faulty: FaultyStage) -> None:
    """So are the next joins, without asking the log, until the time is over; then the channel opens as always."""
    written = await faulty.write(3)
    faulty.log.damaged = {ROOM}
    for _ in range(3):
        with pytest.raises(Unavailable):
            await join(faulty)
    assert (len(faulty.log.tries), faulty.faults, faulty.replica.hub.hosted) == (1, 1, 0)
    faulty.log.damaged.clear()
    await asyncio.sleep(FIRST_WAIT_S + 0.01)
    assert (await join(faulty)).events == encoded(written)


async def test_a_join_that_fails_is_unavailable(faulty: FaultyStage) -> None:
    """A fault while the missed events are read, or while they are written to the client, costs the join."""
    faulty.replica.transport.connect(ALICE)
    await faulty.write(600)
    hosted = await faulty.replica.hub.host(ROOM)
    faulty.log.damaged = {ROOM}
    with pytest.raises(Unavailable):
        await faulty.replica.subscriptions.join(ALICE, identity(), ROOM, print, Position(hosted.position.epoch, 1))
    assert faulty.replica.hub.quarantine.holds(ROOM)
    faulty.log.damaged.clear()
    await asyncio.sleep(FIRST_WAIT_S + 0.01)
    assert not faulty.replica.hub.quarantine.remembers(ROOM)

    def refuse(_: Joined) -> None:
        raise ZeroDivisionError

    with pytest.raises(Unavailable):
        await faulty.replica.subscriptions.join(ALICE, identity(), ROOM, refuse)
    assert faulty.replica.transport.members(ROOM) == []


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_resume_goes_on_beyond_damaged_channels(faulty: FaultyStage, fault: Exception) -> None:
    """Each channel that can be resumed is; those that can't are `unavailable`."""
    inbox = faulty.replica.transport.connect(ALICE)
    rooms = [ChannelName(f"room:{number}") for number in range(3)]
    faulty.log.damaged, faulty.log.fault = {*rooms[:2]}, fault
    epoch = (await faulty.log.read(rooms[2], 0, 0)).head.epoch
    await faulty.replica.subscriptions.resume(ALICE, identity(), dict.fromkeys(rooms, Position(epoch, 0)))
    told = [ChannelRemoved(room, Unavailable) for room in rooms[:2]]
    assert inbox == [*told, ChannelResumed(rooms[2], Position(epoch, 0), None, ())]


async def test_a_resume_waits_in_vain_for_a_bounded_time(faulty: FaultyStage) -> None:
    """A log that fails slowly is not asked for the channels behind `AWAY_S`."""
    inbox = faulty.replica.transport.connect(ALICE)
    faulty.log.error = Unavailable("away")

    async def slow() -> None:
        await asyncio.sleep(AWAY_S * 0.6)

    faulty.log.before = slow
    rooms = [ChannelName(f"room:{number}") for number in range(20)]
    await faulty.replica.subscriptions.resume(ALICE, identity(), dict.fromkeys(rooms, Position("e", 0)))
    assert faulty.log.reads == 2
    assert inbox == [ChannelRemoved(room, Unavailable) for room in rooms]


async def test_a_topic_that_cannot_be_given_up_ends_nothing(faulty: FaultyStage) -> None:
    """A fault of the broadcast while a channel is released is counted; the sweep goes on."""
    assert isinstance(faulty.link, FaultyLink)
    await faulty.replica.hub.host(ROOM)
    faulty.link.fails = True
    await asyncio.sleep(LINGER_S)
    await faulty.replica.hub.release_empty()
    assert (faulty.replica.hub.hosted, faulty.faults) == (0, 1)


async def test_a_channel_that_is_released_meanwhile_is_not_retried(faulty: FaultyStage) -> None:
    """Its faults are forgotten a minute after its last wait."""
    await faulty.replica.hub.host(ROOM)
    faulty.log.damaged = {ROOM}
    faulty.hint(LinkRestored())
    await turns(20)
    transport, hub = faulty.replica.transport, faulty.replica.hub
    transport.disconnect(ALICE)
    await asyncio.sleep(LINGER_S + 2.0)
    await hub.release_empty()
    tries = len(faulty.log.tries)
    await asyncio.sleep(LONGEST_WAIT_S)
    assert (len(faulty.log.tries), hub.quarantine.holds(ROOM)) == (tries, False)
    await asyncio.sleep(LONGEST_WAIT_S)
    assert not hub.quarantine.remembers(ROOM)


# The class


def in_quarantine(scenario: Callable[[Quarantine, RecordingMetrics], None]) -> None:
    """Run a scenario on a quarantine."""

    async def run() -> None:
        metrics = RecordingMetrics()
        async with asyncio.TaskGroup() as tasks:
            quarantine = Quarantine(tasks, lambda _: None, metrics)
            scenario(quarantine, metrics)

    virtually(run)


def test_the_number_of_channels_is_bounded() -> None:
    """A fault beyond the limit is counted, and the channel is not kept."""

    def scenario(quarantine: Quarantine, metrics: RecordingMetrics) -> None:
        for number in range(QUARANTINE_LIMIT + 5):
            quarantine.add(ChannelName(f"room:{number}"), ValueError())
        assert len(metrics.of("quarantined")) == QUARANTINE_LIMIT + 5
        assert quarantine.holds(ChannelName(f"room:{QUARANTINE_LIMIT - 1}"))
        assert not quarantine.holds(ChannelName(f"room:{QUARANTINE_LIMIT}"))

    in_quarantine(scenario)


def test_faults_during_a_wait_are_one() -> None:
    """Several callers may meet the same fault at once. An error of the table is no fault."""

    def scenario(quarantine: Quarantine, metrics: RecordingMetrics) -> None:
        for _ in range(3):
            with pytest.raises(Unavailable), quarantine.guard(ROOM):
                raise ZeroDivisionError
        with pytest.raises(NotFound), quarantine.guard(FOREIGN):
            raise NotFound("not here")
        assert len(metrics.of("quarantined")) == 1
        assert not quarantine.remembers(FOREIGN)
        quarantine.release(FOREIGN)

    in_quarantine(scenario)
