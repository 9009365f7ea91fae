"""Marks are read for many at once, and brought up to a later position without asking."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import pytest

from server.adapters.memory.marks import MemoryMarks
from server.adapters.memory.message_log import MemoryMessageLog
from server.application.people import unread as module
from server.application.people.unread import MAX_ADVANCE, Unread
from server.domain.channels import ChannelName
from server.domain.drafts import Deletion, Revision
from server.domain.errors import Unavailable
from server.domain.events import Event
from server.domain.identity import UserId
from server.domain.marks import Mark
from server.domain.messages import EVERYBODY, Position
from server.domain.rings import Ring
from server.wire.messages import announced
from tests.doubles.faulty_marks import FaultyMarks
from tests.doubles.samples import HOUR_MS, NOW_MS, ROOM, new_message, sample_rings, some_id

BOB, CAROL = UserId("bob"), UserId("carol")
ROOMS = [ChannelName(f"room:{number}") for number in range(5)]


@dataclass
class Stage:
    """A log, and a ring that follows it."""

    log: MemoryMessageLog
    marks: FaultyMarks
    unread: Unread
    ring: Ring
    written: int = 0

    async def write(self, user: str = "alice", *mentions: UserId) -> Event:
        """Append a message."""
        self.written += 1
        draft = replace(new_message(self.written, user=user), mentions=mentions)
        return self._push((await self.log.append(draft)).event)

    async def edit(self, number: int) -> Event:
        """Edit a message."""
        return self._push((await self.log.append(Revision(ROOM, some_id(number), "x", None, True, NOW_MS))).event)

    async def delete(self, number: int) -> Event:
        """Delete a message."""
        return self._push((await self.log.append(Deletion(ROOM, some_id(number), NOW_MS))).event)

    def _push(self, event: Event) -> Event:
        self.ring.push(self.ring.encode(event))
        return event

    async def mark(self, user: UserId = BOB) -> Mark:
        """As the store has it now."""
        return (await self.marks.inner.marks(user, [ROOM]))[ROOM]


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    """Three messages."""
    log = MemoryMessageLog(max_events=1_000, max_age_ms=HOUR_MS)
    async with asyncio.TaskGroup() as tasks:
        marks = FaultyMarks(MemoryMarks(log))
        found = Stage(log, marks, Unread(marks, tasks, announced), Ring(sample_rings()))
        for _ in range(3):
            await found.write()
        yield found


async def test_those_of_a_turn_are_read_together(stage: Stage) -> None:
    """A call for each user, however many sessions ask for the same."""
    asks = [stage.unread.mark(user, room) for user in (BOB, CAROL) for room in [*ROOMS, ROOM]]
    marks = await asyncio.gather(*asks)
    assert stage.marks.reads == [ROOMS, ROOMS]
    assert [mark.unread for mark in marks] == [0, 3, 0, 0, 0, 3] * 2
    assert await stage.unread.marks(BOB, ROOMS) == await stage.marks.inner.marks(BOB, ROOMS)


async def test_very_many_are_read_in_parts(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as the port takes."""
    monkeypatch.setattr(module, "MANY", 2)
    await asyncio.gather(*[stage.unread.mark(BOB, room) for room in ROOMS])
    assert stage.marks.reads == [ROOMS[:2], ROOMS[2:4], ROOMS[4:]]


async def test_an_error_reaches_all_who_wait(stage: Stage) -> None:
    """Each with a traceback of its own; a fault is no `Unavailable`. One that has given up costs the others nothing."""
    stage.marks.error = Unavailable("away")
    given_up = asyncio.ensure_future(stage.unread.mark(BOB, ROOMS[2]))
    waiting = [asyncio.ensure_future(stage.unread.mark(BOB, room)) for room in ROOMS[:2]]
    await asyncio.sleep(0)
    given_up.cancel()
    first, second = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(first, Unavailable)
    assert isinstance(second, Unavailable)
    assert first is not second
    stage.marks.error = ValueError("a fault")
    with pytest.raises(ValueError, match="a fault"):
        await stage.unread.mark(BOB, ROOM)


async def test_work_is_waited_for(stage: Stage) -> None:
    """A task of the group."""
    done = asyncio.Event()

    async def work() -> None:
        done.set()

    stage.unread.spawn(work())
    await asyncio.wait_for(done.wait(), 1)


async def test_messages_behind_the_mark_are_added(stage: Stage) -> None:
    """Those that name the user are mentions, too; edits are neither. The result is that of a new reading."""
    mark = await stage.mark()
    await stage.write()
    await stage.write("alice", CAROL, BOB)
    await stage.edit(2)
    last = await stage.write("alice", EVERYBODY)
    position = Position(last.epoch, last.offset)
    assert stage.unread.at(mark, BOB, stage.ring, position) == await stage.mark()
    assert stage.unread.at(mark, BOB, stage.ring, mark.head) is mark
    earlier = Position(last.epoch, 5)
    assert stage.unread.at(mark, BOB, stage.ring, earlier) == Mark(0, 5, 1, earlier)


async def test_a_deletion_is_read_again(stage: Stage) -> None:
    """It may be of a message that was counted. So is a message that is deleted at a later position."""
    mark = await stage.mark()
    await stage.write()
    last = await stage.delete(4)
    assert stage.unread.at(mark, BOB, stage.ring, Position(last.epoch, last.offset)) is None
    assert stage.unread.at(mark, BOB, stage.ring, Position(last.epoch, last.offset - 1)) is None


async def test_an_own_message_is_read_again(stage: Stage) -> None:
    """It has moved the mark, as a rule."""
    mark = await stage.mark()
    last = await stage.write("bob")
    assert stage.unread.at(mark, BOB, stage.ring, Position(last.epoch, last.offset)) is None


async def test_what_is_not_known_is_read_again(stage: Stage) -> None:
    """Another epoch, an earlier position, a ring that has lost some, or too many events."""
    mark, epoch = await stage.mark(), (await stage.mark()).head.epoch
    for position in (Position("other", 3), Position(epoch, 2), Position(epoch, 4)):
        assert stage.unread.at(mark, BOB, stage.ring, position) is None
    for _ in range(MAX_ADVANCE - 1):
        await stage.write()
    last = await stage.write()
    assert stage.unread.at(mark, BOB, stage.ring, Position(epoch, last.offset)) is not None
    last = await stage.write()
    assert stage.unread.at(mark, BOB, stage.ring, Position(epoch, last.offset)) is None
