"""Who enters a channel is told what they have not read, as of the very position that they enter at."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import pytest

from server.adapters.memory.marks import MemoryMarks
from server.adapters.memory.message_log import MemoryMessageLog
from server.application.channels.arriving import HINT_S, ROUNDS
from server.application.channels.resuming import AWAY_S, MARKS_AHEAD, Joined
from server.application.deadline import COMMAND_DEADLINE_S
from server.domain.channels import ChannelName
from server.domain.drafts import Deletion
from server.domain.errors import Overloaded, Unauthenticated, Unavailable
from server.domain.events import Event
from server.domain.identity import SessionId, UserId
from server.domain.marks import Mark
from server.domain.messages import Position
from server.domain.pushes import ChannelRemoved, ChannelResumed
from tests.doubles.chaotic_broadcast import Broker, BrokerLink
from tests.doubles.faulty_log import FaultyLog
from tests.doubles.faulty_marks import FaultyMarks
from tests.doubles.replica import Replica, replica
from tests.doubles.samples import HOUR_MS, NOW_MS, ROOM, identity, new_message, some_id
from tests.doubles.virtual_time import turns

BOB, HIS = identity("bob"), SessionId("bob's")


@dataclass
class Stage:
    """A replica, its marks, and a session of Bob."""

    memory: MemoryMessageLog
    log: FaultyLog
    marks: FaultyMarks
    link: BrokerLink
    replica: Replica
    inbox: list[object]
    written: int = 0

    async def write(self, *, hinted: bool = True, user: str = "alice", channel: ChannelName = ROOM) -> Event:
        """Append a message that names Bob."""
        self.written += 1
        draft = replace(new_message(self.written, channel, user=user), mentions=(UserId("bob"),))
        event = (await self.memory.append(draft)).event
        if hinted:
            self.link.arrive(event)
            await turns(5)
        return event

    async def delete(self, number: int) -> Event:
        """Delete a message, and hint at it."""
        event = (await self.memory.append(Deletion(ROOM, some_id(number), NOW_MS))).event
        self.link.arrive(event)
        return event

    async def join(self, since: Position | None = None) -> Joined:
        """Bob joins the room."""
        answers: list[Joined] = []
        await self.replica.subscriptions.join(HIS, BOB, ROOM, answers.append, since)
        [joined] = answers
        return joined

    def at_once(self, mark: Mark | None) -> Joined | None:
        """Bob joins the room with a mark that was read before."""
        return self.replica.subscriptions.join_at_once(HIS, BOB, ROOM, mark)

    async def truth(self) -> Mark:
        """The mark as the store has it."""
        return (await self.marks.inner.marks(BOB.user, [ROOM]))[ROOM]


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    """Three messages, and nobody in the room."""
    memory = MemoryMessageLog(max_events=1_000, max_age_ms=HOUR_MS)
    log, marks, link = FaultyLog(memory), FaultyMarks(MemoryMarks(memory)), Broker().link()
    async with replica(log, link, marks=marks) as one:
        found = Stage(memory, log, marks, link, one, one.transport.connect(HIS))
        for _ in range(3):
            await found.write()
        yield found


async def test_a_join_counts_what_is_unread(stage: Stage) -> None:
    """With a position, too."""
    joined = await stage.join()
    assert joined.mark == Mark(0, 3, 3, joined.position)
    await stage.marks.inner.mark(ROOM, BOB.user, 2)
    joined = await stage.join(Position(joined.position.epoch, 1))
    assert joined.mark == Mark(2, 1, 1, joined.position)
    assert [event.offset for event in joined.events] == [2, 3]


async def test_messages_that_come_while_the_mark_is_read_are_counted_once(stage: Stage) -> None:
    """Whether the store has seen them or not, and whether they were delivered here or not."""
    await stage.join()
    for hinted in (True, False):
        stage.marks.open.clear()
        joining = asyncio.ensure_future(stage.join())
        await turns(5)
        stage.marks.open.set()
        last = await stage.write(hinted=hinted)
        joined = await joining
        assert joined.position == Position(last.epoch, last.offset)
        assert joined.mark == await stage.truth()


async def test_a_hint_on_its_way_is_waited_for(stage: Stage) -> None:
    """The log is not read for it."""
    await stage.join()
    last = await stage.write(hinted=False)
    reads = stage.log.reads
    asyncio.get_running_loop().call_later(HINT_S / 2, stage.link.arrive, last)
    joined = await stage.join()
    assert joined.mark == Mark(0, 4, 4, joined.position)
    assert stage.log.reads == reads


async def test_a_mark_that_is_out_of_date_is_read_again(stage: Stage) -> None:
    """Behind a deletion, or an own message, the counts are not known without asking."""
    await stage.join()
    old = await stage.truth()
    assert stage.at_once(old) == Joined(old.head, None, (), old)
    await stage.write()
    now = await stage.truth()
    assert stage.at_once(old) == Joined(now.head, None, (), now)
    await stage.delete(2)
    await turns(5)
    assert stage.at_once(old) is None
    assert (await stage.join()).mark == await stage.truth()


async def test_a_log_that_is_another_is_found_out(stage: Stage) -> None:
    """The mark is of the new log, the channel of the old: the channel is compared with the log first."""
    await stage.join()
    other = MemoryMessageLog(max_events=1_000, max_age_ms=HOUR_MS)
    await other.append(new_message(1))
    stage.log.inner, stage.marks.inner = other, MemoryMarks(other)
    joined = await stage.join()
    assert joined.mark == Mark(0, 1, 0, joined.position)
    assert joined.position == (await other.read(ROOM, 0, 0)).head


async def test_a_mark_of_another_log_is_read_again(stage: Stage) -> None:
    """If the channel is of the new log already."""
    joined = await stage.join()
    old = Mark(2, 1, 1, Position("another", 3))
    answers: list[Joined] = []
    arrive = stage.replica.subscriptions._arriving.arrive  # noqa: SLF001  # a mark that was read before
    answers.append(await arrive(HIS, BOB.user, ROOM, None, 0, old))
    assert answers[0].mark == joined.mark


async def test_a_channel_that_is_too_fast_is_overloaded(stage: Stage) -> None:
    """After so many rounds the client is to try again."""
    await stage.join()
    inner = stage.marks.inner

    class Behind(MemoryMarks):
        async def marks(self, user: UserId, channels: object) -> dict[ChannelName, Mark]:
            found = await inner.marks(user, [ROOM])
            await stage.write(user="bob")
            return dict(found)

    stage.marks.inner = Behind(stage.memory)
    with pytest.raises(Overloaded):
        await stage.join()
    assert len(stage.marks.reads) == ROUNDS + 1


async def test_a_join_is_answered_in_a_channel_that_is_fast_for_a_while(stage: Stage) -> None:
    """Bob's other device sends while each of a dozen marks is read."""
    await stage.join()
    inner = stage.marks.inner

    class Behind(MemoryMarks):
        async def marks(self, user: UserId, channels: object) -> dict[ChannelName, Mark]:
            found = await inner.marks(user, [ROOM])
            if len(stage.marks.reads) <= 12:
                await stage.write(user="bob")
            return dict(found)

    stage.marks.inner = Behind(stage.memory)
    joined = await stage.join()
    assert joined.mark == (await inner.marks(BOB.user, [ROOM]))[ROOM]


async def test_a_session_that_ends_meanwhile_enters_nothing(stage: Stage) -> None:
    """Also while its mark is read."""
    await stage.join()
    stage.marks.open.clear()
    joining = asyncio.ensure_future(stage.join())
    await turns(5)
    stage.replica.transport.disconnect(HIS)
    stage.marks.open.set()
    with pytest.raises(Unauthenticated):
        await joining


async def test_a_store_that_is_away_is_unavailable_in_time(stage: Stage) -> None:
    """A join waits no longer than it did without marks."""
    stage.marks.open.clear()
    began = asyncio.get_running_loop().time()
    with pytest.raises(Unavailable):
        await stage.join()
    assert asyncio.get_running_loop().time() - began == pytest.approx(COMMAND_DEADLINE_S)


# Resuming


async def test_a_resume_reads_many_marks_at_once(stage: Stage) -> None:
    """Those of channels that are not granted are not asked for."""
    rooms = [ChannelName(f"room:{number}") for number in range(MARKS_AHEAD + 20)]
    secret = ChannelName("secret:1")
    stage.replica.subscriptions._max_channels = 500  # noqa: SLF001  # the double allows few
    who = identity("bob", {"room:*": ["join"]})
    positions = dict.fromkeys([rooms[0], secret, *rooms[1:]], Position("gone", 1))
    await stage.replica.subscriptions.resume(HIS, who, positions)
    assert [len(read) for read in stage.marks.reads] == [MARKS_AHEAD - 1, 21]
    resumed = [push for push in stage.inbox if isinstance(push, ChannelResumed)]
    assert [push.channel for push in resumed] == rooms
    assert all(push.mark is not None and push.mark.head == push.position for push in resumed)
    assert resumed[1].mark == Mark(0, 3, 3, (await stage.truth()).head)
    assert ChannelRemoved in map(type, stage.inbox)


async def test_a_resume_without_the_store_ends_in_time(stage: Stage) -> None:
    """It waits in vain for `AWAY_S` in all, whether the store is silent or refuses at once."""
    rooms = {ChannelName(f"room:{number}"): Position("gone", 1) for number in range(200)}
    stage.marks.open.clear()
    began = asyncio.get_running_loop().time()
    await stage.replica.subscriptions.resume(HIS, BOB, rooms)
    assert asyncio.get_running_loop().time() - began == pytest.approx(AWAY_S)
    assert stage.inbox == [ChannelRemoved(room, Unavailable) for room in rooms]
    stage.marks.open.set()
    stage.marks.error = Unavailable("away")
    await stage.replica.subscriptions.resume(HIS, BOB, rooms)
    assert stage.inbox[200:] == [ChannelRemoved(room, Unavailable) for room in rooms]
