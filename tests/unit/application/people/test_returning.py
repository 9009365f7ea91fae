"""Who is in a channel that the server has lost sight of is told what is unread there, and misses nothing after it."""

from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import pytest

from server.adapters.memory.marks import MemoryMarks
from server.adapters.memory.message_log import MemoryMessageLog
from server.application.people.returning import AT_ONCE, Returning
from server.application.sessions.session import Session
from server.domain.errors import Unavailable
from server.domain.identity import SessionId
from server.domain.marks import Mark
from server.domain.pushes import ChannelRemoved, ChannelResumed
from server.domain.recovery import NotResumable
from server.ports.broadcast import LinkRestored
from tests.doubles.chaotic_broadcast import Broker, BrokerLink
from tests.doubles.faulty_log import FaultyLog
from tests.doubles.faulty_marks import FaultyMarks
from tests.doubles.replica import Replica, replica
from tests.doubles.samples import HOUR_MS, ROOM, identity, new_message

MEMBERS = AT_ONCE + 2


@dataclass
class Stage:
    """A room whose members are at its third event, and another log."""

    replica: Replica
    log: FaultyLog
    marks: FaultyMarks
    link: BrokerLink
    sessions: dict[SessionId, Session]
    inboxes: list[list[object]]
    other: MemoryMessageLog


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    """Many users, of whom the second has ended and the third is gone."""
    memory, other = (MemoryMessageLog(max_events=1_000, max_age_ms=HOUR_MS) for _ in range(2))
    log, marks, link = FaultyLog(memory), FaultyMarks(MemoryMarks(memory)), Broker().link()
    sessions = {SessionId(f"s{n}"): Session(SessionId(f"s{n}"), identity(f"user{n}")) for n in range(MEMBERS)}
    async with replica(log, link, marks=marks) as one:
        for number in range(3):
            await memory.append(new_message(number))
        for number in range(2):
            await other.append(new_message(number))
        inboxes = [one.transport.connect(id) for id in sessions]
        for session in sessions.values():
            await one.subscriptions.join(session.id, session.identity, ROOM, lambda _: None)
        found = Stage(one, log, marks, link, sessions, inboxes, other)
        returning = Returning(one.subscriptions, one.transport, sessions.get, marks_tasks(one))
        one.hub.on_restarted(returning.restarted)
        yield found


def marks_tasks(one: Replica) -> Callable[[Coroutine[Any, Any, None]], None]:
    """What makes a task."""
    unread = one.subscriptions.unread
    assert unread is not None
    return unread.spawn


async def lose(stage: Stage) -> None:
    """Let the log be another, and the replica find out."""
    stage.sessions[SessionId("s1")].ended = True
    del stage.sessions[SessionId("s2")]
    stage.log.inner, stage.marks.inner = stage.other, MemoryMarks(stage.other)
    stage.link.arrive(LinkRestored())
    await stage.replica.transport.until(lambda: all(stage.inboxes[0:1] + stage.inboxes[3:]))


async def test_each_member_is_told_what_is_unread(stage: Stage) -> None:
    """As of the position that it goes on from; then it hears every event."""
    await lose(stage)
    head = (await stage.other.read(ROOM, 0, 0)).head
    told = ChannelResumed(ROOM, head, NotResumable.EPOCH_CHANGED, (), Mark(0, 2, 0, head))
    assert stage.inboxes[0] == stage.inboxes[-1] == [told]
    assert stage.inboxes[1] == stage.inboxes[2] == []
    event = (await stage.other.append(new_message(9))).event
    stage.link.arrive(event)
    await stage.replica.transport.until(lambda: len(stage.inboxes[0]) > 1)
    assert stage.inboxes[0][1:] == stage.inboxes[-1][1:] == [event]
    assert len(stage.replica.transport.members(ROOM)) == MEMBERS - 2


async def test_who_can_t_be_told_is_out(stage: Stage) -> None:
    """The client joins again."""
    stage.marks.error = Unavailable("away")
    await lose(stage)
    assert stage.inboxes[0] == stage.inboxes[-1] == [ChannelRemoved(ROOM, Unavailable)]
    assert [*stage.replica.transport.members(ROOM)] == []
