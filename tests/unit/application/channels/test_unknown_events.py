"""Entries of kinds that this version does not know: they move positions, and reach nobody."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import pytest

from server.adapters.memory.message_log import MemoryMessageLog
from server.application.channels.repair import GAP_S
from server.application.channels.resuming import Joined
from server.domain.events import Event, LogEvent, UnknownEvent, log_events
from server.domain.identity import SessionId
from server.domain.messages import Position
from server.domain.pushes import ChannelResumed
from server.domain.rings import RING_LIMIT, EncodedEvent
from server.ports.broadcast import Hint, LinkRestored
from tests.doubles.chaotic_broadcast import Broker, BrokerLink
from tests.doubles.faulty_log import FaultyLog
from tests.doubles.metrics import RecordingMetrics
from tests.doubles.newer_version import write_in_memory
from tests.doubles.replica import Replica, replica
from tests.doubles.samples import HOUR_MS, NOW_MS, ROOM, encoded, identity, new_message
from tests.doubles.virtual_time import turns

ALICE, BOB = SessionId("alice's"), SessionId("bob's")
WHO = identity("alice")


@dataclass
class Scene:
    """One replica of this version, over a log that a newer version writes to as well."""

    log: MemoryMessageLog
    reads: FaultyLog
    link: BrokerLink
    replica: Replica
    metrics: RecordingMetrics
    inbox: list[object]
    written: int = 0

    async def write(self, kinds: str) -> list[Event]:
        """Append a message for each `m`, and an entry of an unknown kind for each `?`. Nobody is hinted at them."""
        events: list[Event] = []
        for kind in kinds:
            self.written += 1
            if kind == "?":
                events.append(write_in_memory(self.log, ROOM, NOW_MS))
            else:
                events.append((await self.log.append(new_message(self.written))).event)
        return events

    async def hint(self, *hints: Hint) -> None:
        """Let hints arrive, and the hub take them."""
        for hint in hints:
            self.link.arrive(hint)
        await turns(len(hints) + 20)

    async def join(self, session: SessionId, since: Position | None = None, history: int = 0) -> Joined:
        """Let a session into the room; return its answer."""
        answers: list[Joined] = []
        await self.replica.subscriptions.join(session, WHO, ROOM, answers.append, since, history)
        return answers[0]

    async def position(self) -> int:
        """How far the hub has come."""
        return (await self.replica.hub.host(ROOM)).position.offset


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    """Alice is connected, and in no channel."""
    log = MemoryMessageLog(max_events=10_000, max_age_ms=HOUR_MS, now_ms=lambda: NOW_MS)
    reads, link, metrics = FaultyLog(log), Broker().link(), RecordingMetrics()
    async with replica(reads, link, metrics=metrics) as one:
        yield Scene(log, reads, link, one, metrics, one.transport.connect(ALICE))


def offsets(events: Sequence[object]) -> list[int]:
    """What a test compares; whatever is no event that a client may be given, fails."""
    given = [event for event in events if isinstance(event, LogEvent | EncodedEvent)]
    assert len(given) == len(events)
    assert all(event.name for event in given if isinstance(event, EncodedEvent))
    return [event.offset for event in given]


async def test_a_hint_moves_the_position_and_reaches_nobody(scene: Scene) -> None:
    """The next message is delivered at its own offset, and nothing is read from the log for it."""
    await scene.join(ALICE)
    reads = scene.reads.reads
    await scene.hint(*await scene.write("m??"))
    assert (await scene.position(), offsets(scene.inbox)) == (3, [1])
    await scene.hint(*await scene.write("m"))
    assert (await scene.position(), offsets(scene.inbox)) == (4, [1, 4])
    assert scene.reads.reads == reads
    assert not any(isinstance(event, UnknownEvent) for (event,) in scene.metrics.of("ordered"))


async def test_a_hint_of_an_unknown_kind_may_be_early_late_or_repeated(scene: Scene) -> None:
    """It takes its place among the others."""
    await scene.join(ALICE)
    written = await scene.write("m?m?")
    await scene.hint(written[3], written[1], written[1], written[2], written[0], written[1])
    assert (await scene.position(), offsets(scene.inbox)) == (4, [1, 3])


async def test_a_lost_hint_of_an_unknown_kind_is_read_from_the_log_once(scene: Scene) -> None:
    """The next hint shows the gap, one read fills it, and the hub is at rest."""
    await scene.join(ALICE)
    written = await scene.write("m?m")
    await scene.hint(written[0])
    reads = scene.reads.reads
    await scene.hint(written[2])
    await asyncio.sleep(GAP_S * 1.1)
    assert (await scene.position(), offsets(scene.inbox)) == (3, [1, 3])
    assert scene.reads.reads == reads + 1


async def test_a_comparison_comes_to_rest_behind_it(scene: Scene) -> None:
    """If the entry is the last one of the log, one read finds it and the next one finds nothing."""
    await scene.join(ALICE)
    await scene.write("m?")
    for reads in (1, 2):
        before = scene.reads.reads
        await scene.hint(LinkRestored())
        assert (await scene.position(), offsets(scene.inbox)) == (2, [1])
        assert scene.reads.reads == before + 1, reads


@pytest.mark.parametrize(
    ("since", "expected"), [(0, [1, 4, 5]), (1, [4, 5]), (2, [4, 5]), (3, [4, 5]), (4, [5]), (5, []), (6, [])]
)
async def test_a_reconnect_is_given_what_is_known(scene: Scene, since: int, expected: list[int]) -> None:
    """All messages after the position, from the ring alone; the answer's position counts the entries between."""
    await scene.join(ALICE)
    written = await scene.write("m??mm?")
    await scene.hint(*written)
    reads = scene.reads.reads
    joined = await scene.join(ALICE, Position(written[0].epoch, since))
    assert (joined.reason, joined.position.offset, offsets(joined.events)) == (None, 6, expected)
    assert scene.reads.reads == reads


async def test_a_resume_across_it_recovers(scene: Scene) -> None:
    """From a replica that does not host the channel yet, too; and then live events follow."""
    written = await scene.write("m?m?")
    await scene.replica.subscriptions.resume(ALICE, WHO, {ROOM: Position(written[0].epoch, 1)})
    assert scene.inbox == [ChannelResumed(ROOM, Position(written[0].epoch, 4), None, encoded(log_events(written[1:])))]
    await scene.hint(*await scene.write("m"))
    assert offsets(scene.inbox[1:]) == [5]


async def test_a_long_replay_across_it_reads_the_log(scene: Scene) -> None:
    """Where the ring begins later than the position, one read of the log gives the rest."""
    written = await scene.write("m?" * RING_LIMIT)
    await scene.join(ALICE)
    reads = scene.reads.reads
    joined = await scene.join(ALICE, Position(written[0].epoch, 0))
    assert (joined.reason, joined.position.offset) == (None, 2 * RING_LIMIT)
    assert offsets(joined.events) == [*range(1, 2 * RING_LIMIT, 2)]
    assert scene.reads.reads == reads + 1


async def test_history_leaves_it_out(scene: Scene) -> None:
    """Of the last `history` entries those are given that are messages' events."""
    await scene.write("mm?m")
    joined = await scene.join(ALICE, history=3)
    assert (joined.position.offset, offsets(joined.events)) == (4, [2, 4])


async def test_another_member_sees_the_same(scene: Scene) -> None:
    """Whoever joins before, at or behind the entry gets the same later events."""
    other = scene.replica.transport.connect(BOB)
    await scene.join(ALICE)
    await scene.hint(*await scene.write("m?"))
    joined = await scene.join(BOB)
    assert (joined.position.offset, joined.events) == (2, ())
    await scene.hint(*await scene.write("m"))
    assert (offsets(scene.inbox), offsets(other)) == ([1, 3], [3])
