"""The promises of reading marks, by their numbers, held by every store."""

import asyncio
from dataclasses import replace

from server.domain.channels import ChannelName
from server.domain.drafts import Deletion, NewMessage, Revision
from server.domain.identity import UserId
from server.domain.marks import InboxEntry, Mark, Receipt
from server.domain.messages import EVERYBODY, Position
from server.ports.marks import MANY
from tests.contracts.conftest import LogStore
from tests.contracts.people_stores import Opened, opened, reaction, replicas
from tests.doubles.samples import NOW_MS, new_message, some_id

BOB = UserId("bob")


def post(number: int, channel: ChannelName, *mentions: str, user: str = "alice", marks: bool = True) -> NewMessage:
    """A message that names users."""
    named = tuple(map(UserId, mentions))
    return replace(new_message(number, channel, user=user), mentions=named, marks=marks)


def deletion(number: int, channel: ChannelName) -> Deletion:
    """The deletion of the message with this number."""
    return Deletion(channel, some_id(number), NOW_MS)


async def fill(people: Opened, channel: ChannelName, upto: int) -> None:
    """Append messages 1 .. upto to the empty channel."""
    for number in range(1, upto + 1):
        await people.log.append(post(number, channel))


async def test_1_a_mark_moves_forward_alone(people_store: LogStore, channel: ChannelName) -> None:
    """Up to the head, on every replica; an older mark changes nothing and is answered with the newer."""
    async with replicas(people_store) as (one, two):
        await fill(one, channel, 5)
        marked = await one.marks.mark(channel, BOB, 2)
        assert (marked.mark.offset, marked.mark.unread, marked.moved) == (2, 3, True)
        marked = await two.marks.mark(channel, BOB, 1)
        assert (marked.mark.offset, marked.mark.unread, marked.moved) == (2, 3, False)
        assert not (await one.marks.mark(channel, BOB, 2)).moved
        marked = await two.marks.mark(channel, BOB, 999)
        assert (marked.mark.offset, marked.mark.unread, marked.moved) == (5, 0, True)
        await one.log.append(post(6, channel))
        assert await two.counts("bob", channel) == (5, 1, 0)
        assert await one.counts("carol", channel) == (0, 6, 0)


async def test_1_marks_at_once(people_store: LogStore, channel: ChannelName) -> None:
    """The furthest stays, whatever the order."""
    async with replicas(people_store) as (one, two):
        await fill(one, channel, 9)
        places = (3, 9, 1, 7, 9, 2)
        marked = await asyncio.gather(*(each.marks.mark(channel, BOB, at) for at in places for each in (one, two)))
        assert await one.counts("bob", channel) == (9, 0, 0)
        assert all(at <= each.mark.offset for each, at in zip(marked[::2], places, strict=True))
        assert 1 <= [each.moved for each in marked].count(True) <= 3


async def test_1_an_empty_channel(people_store: LogStore, channel: ChannelName) -> None:
    """Nothing is to be marked; the head is that of the log."""
    async with opened(people_store) as people:
        head = (await people.log.read(channel, 0, 0)).head
        marked = await people.marks.mark(channel, BOB, 7)
        assert (marked.mark, marked.moved) == (Mark(0, 0, 0, head), False)
        assert await people.mark("bob", channel) == Mark(0, 0, 0, head)
        assert list(await people.marks.receipts(channel, 10)) == []


async def test_2_a_message_moves_its_authors_mark(people_store: LogStore, channel: ChannelName) -> None:
    """Unless it says otherwise; a repeated key moves nothing."""
    async with opened(people_store) as people:
        await people.log.append(replace(post(1, channel), key="k"))
        await people.log.append(post(2, channel, user="bob"))
        assert await people.counts("alice", channel) == (1, 1, 0)
        assert await people.counts("bob", channel) == (2, 0, 0)
        await people.log.append(post(3, channel, user="bob", marks=False))
        assert await people.counts("bob", channel) == (2, 1, 0)
        assert (await people.log.append(replace(post(4, channel), key="k"))).duplicate
        assert await people.counts("alice", channel) == (1, 2, 0)
        await asyncio.gather(*(people.log.append(post(number, channel, user="bob")) for number in range(5, 105)))
        assert await people.counts("bob", channel) == (103, 0, 0)
        assert await people.counts("alice", channel) == (1, 102, 0)


async def test_3_deleted_messages_are_not_unread(people_store: LogStore, channel: ChannelName) -> None:
    """Whether they lie before or behind the mark; edits and reactions change nothing."""
    async with opened(people_store) as people:
        await fill(people, channel, 6)
        await people.marks.mark(channel, BOB, 3)
        await people.log.append(deletion(2, channel))
        assert await people.counts("bob", channel) == (3, 3, 0)
        await people.log.append(deletion(5, channel))
        await people.log.append(Revision(channel, some_id(6), "edited", None, keep_data=True, at=NOW_MS))
        await people.reactions.react(reaction(6, channel))
        assert await people.counts("bob", channel) == (3, 2, 0)
        assert await people.counts("carol", channel) == (0, 4, 0)
        assert (await people.log.append(deletion(5, channel))).duplicate
        assert await people.counts("bob", channel) == (3, 2, 0)


async def test_3_mentions_are_counted_with_the_unread(people_store: LogStore, channel: ChannelName) -> None:
    """Of the user and of everybody, until they are read or deleted; the message has its mentions, also once edited."""
    async with opened(people_store) as people:
        sent = await people.log.append(post(1, channel, "bob", "carol"))
        await people.log.append(post(2, channel, EVERYBODY))
        await people.log.append(post(3, channel, "bob"))
        await people.log.append(Revision(channel, some_id(1), "edited", None, keep_data=True, at=NOW_MS))
        assert await people.counts("bob", channel) == (0, 3, 3)
        assert await people.counts("carol", channel) == (0, 3, 2)
        assert await people.counts("dave", channel) == (0, 3, 1)
        assert (await people.marks.mark(channel, BOB, 1)).mark.unread_mentions == 2
        await people.log.append(deletion(2, channel))
        assert await people.counts("bob", channel) == (1, 1, 1)
        assert await people.counts("dave", channel) == (0, 2, 0)
        page = await people.log.history(channel, None, None, 10)
        assert page.messages[0].mentions == (UserId("bob"), UserId("carol"))  # type: ignore[union-attr]
        assert (await people.log.read(channel, 0, 1)).events == [sent.event]


async def test_3_retention_takes_unread_messages(people_store: LogStore, channel: ChannelName) -> None:
    """A mark below the floor counts as the floor; deletions and mentions below it count no more."""
    async with opened(people_store, max_events=4) as people:
        await people.log.append(post(1, channel, "bob", "carol"))
        await people.log.append(post(2, channel, EVERYBODY))
        await people.log.append(deletion(1, channel))
        assert await people.counts("bob", channel) == (0, 1, 1)
        for number in range(3, 7):
            await people.log.append(post(number, channel, "bob"))
        assert await people.counts("bob", channel) == (0, 4, 4)
        assert await people.counts("carol", channel) == (0, 4, 0)
        assert (await people.marks.mark(channel, BOB, 5)).mark.unread == 2


async def test_3_many_unread_messages(people_store: LogStore, channel: ChannelName) -> None:
    """The count is exact from every mark."""
    async with opened(people_store) as people:
        await asyncio.gather(*(people.log.append(post(number, channel)) for number in range(1, 1_201)))
        for number in (3, 600, 1_000, 1_200):
            await people.log.append(deletion(number, channel))
        for offset, unread in ((1, 1_195), (255, 942), (256, 941), (257, 940), (999, 199), (1_024, 175), (1_200, 0)):
            marked = await people.marks.mark(channel, BOB, offset)
            assert (marked.mark.offset, marked.mark.unread) == (offset, unread)


async def test_4_marks_outlive_the_log_object(people_store: LogStore, channel: ChannelName) -> None:
    """Marks, mentions and deletions are there after closing and opening."""
    async with opened(people_store) as people:
        await people.log.append(post(1, channel, "bob"))
        await people.log.append(post(2, channel, "bob"))
        await people.log.append(post(3, channel, "bob"))
        await people.log.append(deletion(2, channel))
        await people.marks.mark(channel, UserId("carol"), 1)
    async with opened(people_store) as people:
        assert await people.counts("bob", channel) == (0, 2, 2)
        assert await people.counts("carol", channel) == (1, 1, 0)
        assert await people.counts("alice", channel) == (3, 0, 0)


async def test_5_receipts_are_the_furthest(people_store: LogStore, channel: ChannelName) -> None:
    """The furthest first, ties by user."""
    async with opened(people_store) as people:
        await fill(people, channel, 5)
        for user, offset in (("dave", 3), ("bob", 2), ("carol", 3), ("erin", 1)):
            await people.marks.mark(channel, UserId(user), offset)
        all_of_them = [("alice", 5), ("carol", 3), ("dave", 3), ("bob", 2), ("erin", 1)]
        expected = [Receipt(UserId(user), offset) for user, offset in all_of_them]
        assert list(await people.marks.receipts(channel, 10)) == expected
        assert list(await people.marks.receipts(channel, 3)) == expected[:3]


async def test_marks_of_many_channels(people_store: LogStore, channel: ChannelName) -> None:
    """Of each channel that is asked for, also if there is nothing."""
    async with opened(people_store) as people:
        names = [ChannelName(f"{channel}:{number}") for number in range(MANY)]
        await fill(people, names[1], 2)
        await people.log.append(post(1, names[2], "bob", user="bob"))
        marks = await people.marks.marks(BOB, names)
        assert len(marks) == MANY
        told = [(marks[name].offset, marks[name].unread, marks[name].unread_mentions) for name in names[:3]]
        assert told == [(0, 0, 0), (0, 2, 0), (1, 0, 0)]
        assert marks[names[2]].head.offset == 1
        assert all(mark.head.epoch for mark in marks.values())


async def test_an_inbox_shows_the_last_message(people_store: LogStore, channel: ChannelName) -> None:
    """In its current state: edited, with its reactions, deleted; in the order that was asked for."""
    async with opened(people_store) as people:
        plain, deleted, empty = (ChannelName(f"{channel}:{name}") for name in ("plain", "deleted", "empty"))
        await fill(people, plain, 2)
        await people.log.append(Revision(plain, some_id(2), "edited", None, keep_data=True, at=NOW_MS))
        await people.reactions.react(reaction(2, plain))
        await people.log.append(Revision(plain, some_id(1), "older", None, keep_data=True, at=NOW_MS))
        await fill(people, deleted, 2)
        await people.log.append(deletion(2, deleted))
        inbox = await people.marks.inbox(BOB, [deleted, empty, plain])
        assert [entry.channel for entry in inbox] == [deleted, empty, plain]
        states = [(await people.log.history(name, None, None, 1)).messages for name in (deleted, plain)]
        marks = await people.marks.marks(BOB, [deleted, empty, plain])
        epoch = marks[empty].head.epoch
        assert inbox[0] == InboxEntry(deleted, marks[deleted], states[0][0], NOW_MS + 2)
        assert inbox[1] == InboxEntry(empty, Mark(0, 0, 0, Position(epoch, 0)), None, None)
        assert inbox[2] == InboxEntry(plain, marks[plain], states[1][0], NOW_MS + 2)
        assert (marks[deleted].unread, marks[plain].unread) == (1, 2)


async def test_3_a_user_whose_id_is_that_of_everybody_is_one_user(people_store: LogStore, channel: ChannelName) -> None:
    """A message to everybody is one mention to them, and what they read stays unread for the others."""
    async with opened(people_store) as people:
        await people.log.append(post(1, channel, EVERYBODY))
        assert (await people.mark(EVERYBODY, channel)).unread_mentions == 1
        assert (await people.marks.mark(channel, UserId(EVERYBODY), 1)).mark.unread_mentions == 0
        assert (await people.mark("bob", channel)).unread_mentions == 1
