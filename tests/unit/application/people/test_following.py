"""Users follow channels, and their inbox is made of them."""

import asyncio
from dataclasses import dataclass, replace

import pytest

from server.adapters.memory.follows import MemoryFollows
from server.adapters.memory.marks import MemoryMarks
from server.adapters.memory.message_log import MemoryMessageLog
from server.application.limits.limiter import Allowance, Limiter
from server.application.people import following as module
from server.application.people.following import AutoFollowing, Following
from server.application.people.inboxes import Inboxes
from server.application.sessions.session import Session
from server.domain.channels import ChannelName
from server.domain.drafts import Deletion
from server.domain.errors import BadRequest, PermissionDenied, Unavailable
from server.domain.events import Event
from server.domain.gcra import Rate
from server.domain.identity import SessionId, UserId
from server.domain.messages import Message, Tombstone
from server.domain.pushes import InboxState
from server.domain.rates import Bucket
from server.domain.rules import Rule, Rules
from tests.doubles.faulty_marks import FaultyMarks
from tests.doubles.samples import HOUR_MS, NOW_MS, identity, new_message, some_id, unknown
from tests.doubles.transport import RecordingTransport
from tests.doubles.virtual_time import turns

BOB = identity("bob", {"room:*": ["join"]})
ROOMS = [ChannelName(f"room:{number}") for number in range(7)]
SECRET = ChannelName("secret:1")


@dataclass
class Stage:
    """A log, its marks, and who follows what."""

    log: MemoryMessageLog
    follows: MemoryFollows
    marks: FaultyMarks
    following: Following

    async def write(self, number: int, channel: ChannelName, text: str | None = None) -> Event:
        """Alice writes a message, whose time is its number."""
        return (await self.log.append(new_message(number, channel, text=text))).event


@pytest.fixture
def stage() -> Stage:
    """Nothing is written, and nobody follows."""
    log = MemoryMessageLog(max_events=1_000, max_age_ms=HOUR_MS)
    marks, follows = FaultyMarks(MemoryMarks(log)), MemoryFollows(log)
    return Stage(log, follows, marks, Following(follows, marks))


async def test_following_needs_the_grant_to_join(stage: Stage) -> None:
    """A backend needs none."""
    await stage.following.follow(BOB, ROOMS[0])
    for act in (stage.following.follow, stage.following.unfollow):
        with pytest.raises(PermissionDenied):
            await act(BOB, SECRET)
    await stage.following.set(BOB.user, SECRET, follows=True)
    assert {*await stage.follows.followed(BOB.user)} == {ROOMS[0], SECRET}
    await stage.following.unfollow(BOB, ROOMS[0])
    await stage.following.set(BOB.user, SECRET, follows=False)
    assert await stage.follows.followed(BOB.user) == []


async def test_the_inbox_has_the_latest_first(stage: Stage) -> None:
    """By the creation of the last message, also if that is deleted; channels without messages last, by name. What the
    token does not grant vanishes."""
    for room in [*ROOMS[:5], SECRET]:
        await stage.following.set(BOB.user, room, follows=True)
    for number, room in enumerate([ROOMS[1], ROOMS[2], SECRET, ROOMS[0], ROOMS[1]], 1):
        await stage.write(number, room)
    await stage.log.append(Deletion(ROOMS[0], some_id(4), NOW_MS))
    page = await stage.following.inbox(BOB, 500)
    assert [entry.channel for entry in page.entries] == [ROOMS[1], ROOMS[0], ROOMS[2], ROOMS[3], ROOMS[4]]
    assert [type(entry.last) for entry in page.entries] == [Message, Tombstone, Message, type(None), type(None)]
    assert [entry.mark.unread for entry in page.entries] == [2, 0, 1, 0, 0]
    assert page.next is None
    assert (await stage.following.inbox(identity("carol"), 10)).entries == []


async def test_an_inbox_has_pages(stage: Stage) -> None:
    """Each behind the one before, until there are no more."""
    for number, room in enumerate(ROOMS, 1):
        await stage.following.follow(BOB, room)
        if number % 2:
            await stage.write(number, room)
    seen, before = list[ChannelName](), None
    for size in (3, 3, 1):
        page = await stage.following.inbox(BOB, 3, before)
        assert len(page.entries) == size
        seen, before = [*seen, *(entry.channel for entry in page.entries)], page.next
    assert before is None
    assert seen == [entry.channel for entry in (await stage.following.inbox(BOB, 500)).entries]
    for wrong in ("", "x.room:1", "1", "1.Room"):
        with pytest.raises(BadRequest):
            await stage.following.inbox(BOB, 3, wrong)


async def test_a_page_is_cut_where_it_is_too_large(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the bytes of its texts, of which only the beginnings count."""
    monkeypatch.setattr(module, "ENTRY_BYTES", 786_432 // 3)
    for number, room in enumerate(ROOMS[:3], 1):
        await stage.following.follow(BOB, room)
        await stage.write(number, room, "x" * 4_000)
    page = await stage.following.inbox(BOB, 500)
    assert len(page.entries) == 2
    assert page.next is not None
    assert len((await stage.following.inbox(BOB, 500, page.next)).entries) == 1


# By rule


async def auto(stage: Stage, tasks: asyncio.TaskGroup) -> AutoFollowing:
    """Users follow rooms by writing to them."""
    return AutoFollowing(stage.follows, Rules({"room:*": Rule(auto_follow=True)}), tasks)


async def test_writing_is_following_by_rule(stage: Stage) -> None:
    """Once: who has unfollowed since is left alone. Other events, and other channels, are nothing."""
    alice = UserId("alice")
    async with asyncio.TaskGroup() as tasks:
        following = await auto(stage, tasks)
        for event in (None, unknown(1), await stage.write(1, SECRET), await stage.write(2, ROOMS[0])):
            following.wrote(event)
        await turns(3)
        assert await stage.follows.followed(alice) == [ROOMS[0]]
        await stage.follows.unfollow(alice, ROOMS[0])
        following.wrote(await stage.write(3, ROOMS[0]))
        await turns(3)
        assert await stage.follows.followed(alice) == []


async def test_following_by_rule_is_bounded(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over the bound the next message follows; of as many it is remembered."""
    monkeypatch.setattr(module, "MAX_FOLLOWING", 1)
    monkeypatch.setattr(module, "MAX_REMEMBERED", 1)
    alice = UserId("alice")
    async with asyncio.TaskGroup() as tasks:
        following = await auto(stage, tasks)
        for number in (0, 1):
            following.wrote(await stage.write(number, ROOMS[number]))
        await turns(3)
        assert await stage.follows.followed(alice) == [ROOMS[0]]
        following.wrote(await stage.write(3, ROOMS[1]))
        await turns(3)
        assert {*await stage.follows.followed(alice)} == {*ROOMS[:2]}


async def test_a_follow_that_fails_is_tried_with_the_next_message(stage: Stage) -> None:
    """The message itself is written all the same."""

    class Away(MemoryFollows):
        async def follow(self, user: UserId, channel: ChannelName) -> bool:
            raise Unavailable("away")

    async with asyncio.TaskGroup() as tasks:
        following = await auto(replace(stage, follows=Away(stage.log)), tasks)
        following.wrote(await stage.write(1, ROOMS[0]))
        await turns(3)
        following._follows = stage.follows  # noqa: SLF001  # it is back
        following.wrote(await stage.write(2, ROOMS[0]))
        await turns(3)
    assert await stage.follows.followed(UserId("alice")) == [ROOMS[0]]


# In a CONNECT


async def test_a_new_session_is_given_its_inbox(stage: Stage) -> None:
    """As often as its user's rate allows, and if the store is there."""
    transport = RecordingTransport()
    limiter = Limiter({Bucket.INBOX: Rate(0.1, 3)}, {}, {"inbox": Bucket.INBOX}, lambda: 0.0)
    inboxes = Inboxes(stage.following, transport, "inbox", lambda: 1.0)
    await stage.following.follow(BOB, ROOMS[0])
    given = []
    for number in range(5):
        session = Session(SessionId(f"s{number}"), BOB, Allowance(limiter.plans(BOB), BOB.user))
        inbox = transport.connect(session.id)
        stage.marks.error = Unavailable("away") if number == 1 else None
        await inboxes.give(session, 10)
        given.append(inbox)
    state = InboxState(await stage.following.inbox(BOB, 10))
    assert given[0] == [state]
    assert given[1] == []
    free = Session(SessionId("free"), BOB)
    assert transport.connect(free.id) == []
    await inboxes.give(free, 10)
    assert transport.inbox(free.id) == [state]
