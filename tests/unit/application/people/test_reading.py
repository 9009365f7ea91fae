"""Marks move at a rate, and are told to those who may know."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from server.adapters.memory.marks import MemoryMarks
from server.adapters.memory.message_log import MemoryMessageLog
from server.application.deadline import COMMAND_DEADLINE_S
from server.application.limits.limiter import Allowance, Limiter
from server.application.people import reading as module
from server.application.people import receipts as receipts_module
from server.application.people.attending import Attendants
from server.application.people.reading import Reading
from server.application.people.receipts import TOLD_S, Receipts
from server.application.people.unread import Unread
from server.application.sessions.session import Session
from server.domain.channels import ChannelName
from server.domain.errors import NotJoined, Unavailable
from server.domain.gcra import Rate
from server.domain.identity import UserId
from server.domain.marks import Receipt
from server.domain.presence import Departure
from server.domain.rates import Bucket
from server.domain.rules import Rule, Rules
from server.domain.signals import ReadUpdated
from server.wire.messages import announced
from tests.doubles.faulty_marks import FaultyMarks
from tests.doubles.people import People
from tests.doubles.samples import HOUR_MS, ROOM, new_message
from tests.doubles.signals import DirectSignals
from tests.doubles.virtual_time import turns

SMALL = ChannelName("small:1")
BOB = UserId("bob")


@dataclass
class Stage:
    """Two replicas over one log, on which the first marks."""

    log: MemoryMessageLog
    marks: FaultyMarks
    signals: DirectSignals
    here: People
    there: People
    reading: Reading
    receipts: Receipts
    passed_over: list[None]

    async def write(self, count: int, channel: ChannelName = ROOM) -> None:
        """Carol writes messages."""
        for number in range(count):
            await self.log.append(new_message(hash((channel, number)) % 10**9, channel, user="carol"))

    async def mark(self, session: Session, offset: int, channel: ChannelName = ROOM) -> tuple[int, int, bool]:
        """Mark, and return the offset, the unread messages, and whether it was done now."""
        mark, moved = await self.reading.mark(session, channel, offset)
        return mark.offset, mark.unread, moved

    async def offset(self, channel: ChannelName = ROOM) -> int:
        """Bob's mark."""
        return (await self.marks.inner.marks(BOB, [channel]))[channel].offset


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    """Ten messages in the room."""
    async with on_stage() as found:
        yield found


@asynccontextmanager
async def on_stage() -> AsyncIterator[Stage]:
    """As the fixture."""
    log, rules = MemoryMessageLog(max_events=1_000, max_age_ms=HOUR_MS), Rules({"small:*": Rule(receipts=2)})
    marks, signals, here, there = FaultyMarks(MemoryMarks(log)), DirectSignals(), People(), People()
    async with asyncio.TaskGroup() as tasks:
        clock, passed_over = asyncio.get_running_loop().time, list[None]()
        reading = Reading(marks, Unread(marks, tasks, announced), signals, here.company, rules, tasks, clock)
        receipts = Receipts(here.transport, here.company, rules, reading.origin, lambda: passed_over.append(None))
        elsewhere = Receipts(there.transport, there.company, rules, lambda _: None)
        for each in (receipts, elsewhere):
            signals.on(ReadUpdated, each.heard)
        stage = Stage(log, marks, signals, here, there, reading, receipts, passed_over)
        await stage.write(10)
        yield stage


def read(offset: int, user: str = "bob", channel: ChannelName = ROOM) -> ReadUpdated:
    """What is told."""
    return ReadUpdated(channel, UserId(user), offset)


def slow(session: Session, per_s: float = 1.0, burst: int = 1) -> Session:
    """Give the session a rate of marks."""
    limiter = Limiter({Bucket.MARK: Rate(per_s, burst)}, {}, {"read:mark": Bucket.MARK}, lambda: 0.0)
    session.allowance = Allowance(limiter.plans(session.identity), session.identity.user)
    return session


async def test_a_mark_answers_how_much_is_unread(stage: Stage) -> None:
    """It moves on and never back; beyond the head is the head."""
    bob = stage.here.come("bob")
    assert await stage.mark(bob, 4) == (4, 6, True)
    assert await stage.mark(bob, 3) == (4, 6, True)
    assert await stage.mark(bob, 11) == (10, 0, True)
    assert stage.signals.published == [read(4), read(10)]


async def test_a_mark_needs_the_join(stage: Stage) -> None:
    """And so do receipts."""
    bob = stage.here.come("bob", channel=None)
    with pytest.raises(NotJoined):
        await stage.reading.mark(bob, ROOM, 1)
    with pytest.raises(NotJoined):
        await stage.reading.receipts(bob, ROOM)


async def test_the_other_devices_are_told_at_once(stage: Stage) -> None:
    """Each mark, on every replica; not the device that has marked."""
    bob = stage.here.come("bob")
    stage.here.come("bob/phone")
    stage.there.come("bob/desk")
    for offset in (2, 3, 4):
        await stage.mark(bob, offset)
    assert stage.here.heard("bob") == []
    assert stage.here.heard("bob/phone") == stage.there.heard("bob/desk") == [read(2), read(3), read(4)]


async def test_the_members_are_told_once_a_second(stage: Stage) -> None:
    """The first at once, then the last of a second; an older one that comes late is dropped."""
    bob = stage.here.come("bob")
    stage.there.come("alice")
    for offset in (2, 3, 4):
        await stage.mark(bob, offset)
    stage.signals.publish(read(1))
    assert stage.there.heard("alice") == [read(2)]
    await asyncio.sleep(TOLD_S / 2)
    stage.signals.publish(read(7, "dave"))
    assert stage.there.heard("alice") == [read(2), read(7, "dave")]
    await asyncio.sleep(TOLD_S)
    assert stage.there.heard("alice") == [read(2), read(7, "dave"), read(4)]
    await asyncio.sleep(3 * TOLD_S)
    await stage.mark(bob, 5)
    assert stage.there.heard("alice")[3:] == [read(5)]


async def test_the_members_are_never_told_of_a_mark_that_moves_back(stage: Stage) -> None:
    """The signals of two devices, at two replicas, may cross."""
    stage.here.come("bob")
    stage.there.come("alice")
    for offset in (9, 8):
        stage.signals.publish(read(offset))
    await asyncio.sleep(2 * TOLD_S)
    assert stage.there.heard("alice") == [read(9)]


async def test_strangers_in_large_channels_are_told_nothing(stage: Stage) -> None:
    """The user's own devices are; a channel that grows while a mark waits is large."""
    await stage.write(5, SMALL)
    bob = stage.here.come("bob", SMALL)
    stage.here.come("alice", SMALL)
    await stage.mark(bob, 1, SMALL)
    await stage.mark(bob, 2, SMALL)
    stage.here.come("bob/phone", SMALL)
    await asyncio.sleep(2 * TOLD_S)
    await stage.mark(bob, 3, SMALL)
    assert stage.here.heard("alice") == [read(1, channel=SMALL)]
    assert stage.here.heard("bob/phone") == [read(3, channel=SMALL)]


async def test_a_mark_is_told_in_no_empty_channel(stage: Stage) -> None:
    """Nobody is there any more when the signal comes."""
    bob = stage.here.come("bob")
    stage.signals.held = []
    await stage.mark(bob, 2)
    stage.here.transport.leave(bob.id, ROOM)
    stage.signals.let_go()
    assert stage.here.heard("bob") == []


async def test_receipts_are_those_of_the_channel(stage: Stage) -> None:
    """The furthest first; in a large channel the user's own alone."""
    bob, alice = stage.here.come("bob"), stage.here.come("alice")
    await stage.mark(bob, 4)
    await stage.mark(alice, 6)
    carol = Receipt(UserId("carol"), 10)  # who has written them
    assert [*await stage.reading.receipts(bob, ROOM)] == [carol, Receipt(UserId("alice"), 6), Receipt(BOB, 4)]
    await stage.write(2, SMALL)
    for who in ("bob", "alice", "dave"):
        stage.here.come(who, SMALL)
    bob = stage.here.come("bob", SMALL)
    assert await stage.reading.receipts(bob, SMALL) == []
    await stage.mark(bob, 1, SMALL)
    assert await stage.reading.receipts(bob, SMALL) == [Receipt(BOB, 1)]


# Over the rate


async def test_over_the_rate_the_last_mark_is_kept(stage: Stage) -> None:
    """It is answered as it is, and moved when the rate allows: the furthest of each channel, in the order of the
    channels."""
    await stage.write(5, SMALL)
    bob = slow(stage.here.come("bob"))
    stage.here.transport.enter(bob.id, SMALL)
    assert await stage.mark(bob, 1) == (1, 9, True)
    assert await stage.mark(bob, 4) == (1, 9, False)
    assert await stage.mark(bob, 3) == (1, 9, False)
    assert await stage.mark(bob, 2, SMALL) == (0, 5, False)
    await asyncio.sleep(1.1)
    assert (await stage.offset(), await stage.offset(SMALL)) == (4, 0)
    await asyncio.sleep(1.0)
    assert (await stage.offset(), await stage.offset(SMALL)) == (4, 2)
    assert stage.marks.made == [1, 4, 2]
    await asyncio.sleep(5.0)
    assert await stage.mark(bob, 5) == (5, 5, True)


async def test_a_further_mark_replaces_the_one_that_is_kept(stage: Stage) -> None:
    """An earlier one does not."""
    bob = slow(stage.here.come("bob"), per_s=0.1, burst=1)
    await stage.mark(bob, 1)
    for kept, marked, after in ((4, 3, 4), (6, 7, 7)):
        await stage.mark(bob, kept)
        bob.allowance = None  # a new token has another tier
        await stage.mark(bob, marked)
        await asyncio.sleep(11.0)
        assert await stage.offset() == after
        slow(bob, per_s=0.1, burst=1)
        await stage.mark(bob, 0)
    assert stage.marks.made == [1, 3, 4, 0, 7, 0]


async def test_what_is_kept_is_marked_at_the_end_of_the_session(stage: Stage) -> None:
    """A tab that is closed has been read; leaving the channel changes nothing."""
    bob, alice = slow(stage.here.come("bob"), per_s=0.01), stage.here.come("alice")
    await stage.mark(bob, 1)
    await stage.mark(bob, 4)
    attendants = Attendants(stage.reading)
    attendants.entered(bob.id, bob.identity, ROOM, True)
    attendants.left(bob.id, ROOM)
    for session in (bob, alice):
        attendants.ended(session.id, [ROOM], Departure.LOST)
    await turns(3)
    assert await stage.offset() == 4


async def test_a_kept_mark_that_fails_is_dropped(stage: Stage) -> None:
    """The next one is further."""
    bob = slow(stage.here.come("bob"))
    await stage.mark(bob, 1)
    await stage.mark(bob, 4)
    stage.marks.error = Unavailable("away")
    await asyncio.sleep(2.0)
    stage.marks.error = None
    assert await stage.mark(bob, 2) == (2, 8, True)


async def test_the_marks_of_many_sessions_are_bounded(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over the bound nothing is kept; of as many it is remembered which session has marked; as many are told."""
    monkeypatch.setattr(module, "MAX_KEPT", 1)
    monkeypatch.setattr(module, "MAX_ORIGINS", 1)
    monkeypatch.setattr(receipts_module, "MAX_TOLD", 1)
    bob, alice = slow(stage.here.come("bob")), slow(stage.here.come("alice"))
    stage.signals.held = []
    for session in (bob, alice):
        await stage.mark(session, 1)
    stage.signals.let_go()
    assert stage.here.heard("alice") == [read(1)]
    assert stage.here.heard("bob") == [read(1)]  # its own: it is forgotten that this session has marked
    assert len(stage.passed_over) == 1
    for session in (bob, alice):
        await stage.mark(session, 4)
    await asyncio.sleep(2.0)
    assert stage.marks.made == [1, 1, 4]


async def test_a_store_that_is_away_is_unavailable_in_time(stage: Stage) -> None:
    """For marks and receipts, within the deadline of every command."""
    bob, began = stage.here.come("bob"), asyncio.get_running_loop().time()
    stage.marks.open.clear()
    for ask in (stage.reading.mark(bob, ROOM, 1), stage.reading.receipts(bob, ROOM)):
        with pytest.raises(Unavailable):
            await ask
    assert asyncio.get_running_loop().time() - began == pytest.approx(2 * COMMAND_DEADLINE_S)
