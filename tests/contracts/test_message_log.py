"""The promises of the message log, by their numbers, held by every adapter."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

import pytest

from server.domain.appending import Appended, already_deleted, id_taken, not_found
from server.domain.channels import ChannelName
from server.domain.drafts import Deletion, Draft, NewMessage, Revision, Sender
from server.domain.errors import MaruError, NotFound
from server.domain.events import (
    Event,
    LogEvent,
    MessageCreated,
    MessageDeleted,
    MessageEdited,
    MessageErased,
    erased,
    without_deleted,
)
from server.domain.identity import Author, UserId
from server.domain.messages import Message, Tombstone, author_digest
from server.domain.rules import Rule
from server.ports.message_log import MessageLog, Page
from tests.contracts.conftest import LogStore
from tests.doubles.samples import HOUR_MS, NOW_MS, new_message, some_id

DEADLINE_S = 5.0

MODERATOR = Author(UserId("mod"), "Mod")


def edit(number: int, channel: ChannelName, text: str = "edited") -> Revision:
    """The edit of the message with this number."""
    return Revision(channel, some_id(number), text, data=None, keep_data=True, at=NOW_MS + 10_000 + number)


def deletion(number: int, channel: ChannelName) -> Deletion:
    """The deletion of the message with this number."""
    return Deletion(channel, some_id(number), at=NOW_MS + 20_000 + number)


async def fill(log: MessageLog, channel: ChannelName, upto: int) -> list[LogEvent]:
    """Append messages 1 .. upto to the empty channel."""
    return [(await log.append(new_message(number, channel))).event for number in range(1, upto + 1)]


async def refused(log: MessageLog, draft: Draft, refusal: MaruError) -> None:
    """Assert that the log refuses the draft with this error and this text."""
    with pytest.raises(type(refusal)) as raised:
        await log.append(draft)
    assert raised.value.message == refusal.message


async def eventually(holds: Callable[[], Awaitable[bool]]) -> None:
    """Wait until the condition holds: an adapter may work in the background."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            if await holds():
                return
            await asyncio.sleep(0)


def offsets(events: Sequence[Event]) -> list[int]:
    """The offsets of the events."""
    return [event.offset for event in events]


def creations(page: Page) -> list[int]:
    """The offsets at which the page's messages were created."""
    return [message.offset for message in page.messages]


async def test_1_offsets_are_dense_in_the_order_of_calls(log: MessageLog, channel: ChannelName) -> None:
    """Appends that one task starts at once get 1, 2, 3 ... in the order in which it started them."""
    appended = await asyncio.gather(*(log.append(new_message(number, channel)) for number in range(1, 101)))
    assert offsets([one.event for one in appended]) == list(range(1, 101))


async def test_1_concurrent_appends_are_dense_and_each_there_once(log: MessageLog, channel: ChannelName) -> None:
    """200 appends of 20 tasks fill 1 .. 200, and every reader sees the order that the answers told."""

    async def sender(number: int) -> list[Event]:
        drafts = [new_message(number * 10 + i, channel) for i in range(10)]
        return [(await log.append(draft)).event for draft in drafts]

    answered = [event for sent in await asyncio.gather(*map(sender, range(20))) for event in sent]
    replays = await asyncio.gather(*(log.read(channel, 0, 1_000) for _ in range(3)))
    assert sorted(offsets(answered)) == list(range(1, 201))
    for replay in replays:
        assert list(replay.events) == sorted(answered, key=lambda event: event.offset)


async def test_1_channels_count_for_themselves(log: MessageLog, channel: ChannelName) -> None:
    """Events of one channel move no offset of another, not even if both have a message with the same id."""
    other = ChannelName(f"{channel}:other")
    await fill(log, channel, 3)
    assert (await log.append(new_message(1, other))).event.offset == 1
    assert (await log.read(channel, 0, 0)).head.offset == 3


async def test_2_what_was_answered_is_read(log: MessageLog, channel: ChannelName) -> None:
    """Each answered event is there for the next read, whole: the draft, with its offset and the channel's epoch."""
    data = {"nested": [1, 2.5, None, True], "emoji": "마루 🙂", "line": "a\nb\u2028\x00"}
    draft = replace(new_message(1, channel, key="k", text="two\nlines\x00 🙂"), data=data, reply_to=some_id(9))
    appended = await log.append(draft)
    replay = await log.read(channel, 0, 10)
    assert isinstance(appended.event, MessageCreated)
    message = Message(
        id=draft.id,
        channel=channel,
        author=draft.author,
        text="two\nlines\x00 🙂",
        data=data,
        reply_to=some_id(9),
        key="k",
        created_at=draft.at,
        edited_at=None,
        version=1,
        offset=1,
    )
    assert appended == Appended(MessageCreated(channel, replay.head.epoch, 1, draft.at, message), duplicate=False)
    assert list(replay.events) == [appended.event]
    assert await log.message(channel, draft.id) == message


async def test_2_what_was_answered_outlives_the_log_object(store: LogStore, channel: ChannelName) -> None:
    """Events, states and keys are there after closing and opening, and offsets go on."""
    async with store.open() as log:
        events = await fill(log, channel, 3)
        events.append((await log.append(edit(1, channel))).event)
        events.append((await log.append(deletion(2, channel))).event)
        page = await log.history(channel, None, None, 10)
    async with store.open() as log:
        expected = without_deleted(events) if store.erases else events
        assert list((await log.read(channel, 0, 10)).events) == list(expected)
        assert await log.history(channel, None, None, 10) == page
        assert (await log.append(new_message(6, channel))).event.offset == 6


async def test_3_a_repeated_key_is_the_first_event(log: MessageLog, channel: ChannelName) -> None:
    """The second message with a key writes nothing and is answered with the first, whatever its content."""
    first = await log.append(new_message(1, channel, key="k"))
    again = await log.append(new_message(2, channel, key="k", text="other"))
    assert again == Appended(first.event, duplicate=True)
    assert offsets((await log.read(channel, 0, 10)).events) == [1]


async def test_3_a_repeated_key_is_the_first_event_also_after_changes(store: LogStore, channel: ChannelName) -> None:
    """An edit in between changes nothing in the answer: it is the event, not the state. After a deletion the answer is
    the first event without its text."""
    async with store.open() as log:
        first = await log.append(new_message(1, channel, key="k"))
        await log.append(edit(1, channel))
        assert await log.append(new_message(2, channel, key="k")) == Appended(first.event, duplicate=True)
        await log.append(deletion(1, channel))
        assert isinstance(first.event, MessageCreated)
        answer = erased(first.event) if store.erases else first.event
        assert await log.append(new_message(3, channel, key="k")) == Appended(answer, duplicate=True)


async def test_3_keys_are_of_one_author_in_one_channel(log: MessageLog, channel: ChannelName) -> None:
    """The same key of another author, or in another channel, is another message."""
    other = ChannelName(f"{channel}:other")
    drafts = [
        new_message(1, channel, key="k"),
        new_message(2, channel, key="k", user="bob"),
        new_message(3, other, key="k"),
        new_message(4, channel, key="K"),
    ]
    assert [(await log.append(draft)).duplicate for draft in drafts] == [False] * 4


async def test_3_without_a_key_every_message_is_new(log: MessageLog, channel: ChannelName) -> None:
    """Two drafts with equal texts are two messages."""
    events = [(await log.append(new_message(number, channel, text="hello"))).event for number in (1, 2)]
    assert offsets(events) == [1, 2]


async def test_3_one_of_many_concurrent_repeats_is_written(log: MessageLog, channel: ChannelName) -> None:
    """50 messages with one key at once, among others: one is new, all are answered with it."""
    repeats = [log.append(new_message(number, channel, key="k")) for number in range(50)]
    others = [log.append(new_message(number, channel, key=f"k{number}")) for number in range(50, 60)]
    answers = (await asyncio.gather(*repeats, *others))[:50]
    assert len({answer.event.offset for answer in answers}) == 1
    assert sum(not answer.duplicate for answer in answers) == 1
    assert (await log.read(channel, 0, 0)).head.offset == 11


async def test_3_a_key_holds_for_24_hours(store: LogStore, channel: ChannelName) -> None:
    """A repeat just before 24 h is a duplicate, after a restart too; at 24 h it is a new message with a new term."""
    async with store.open() as log:
        first = await log.append(new_message(1, channel, key="k"))
    store.clock.now += 24 * HOUR_MS - 1
    async with store.open() as log:
        assert await log.append(new_message(2, channel, key="k")) == Appended(first.event, duplicate=True)
        store.clock.now += 1
        second = await log.append(new_message(3, channel, key="k"))
        assert (second.event.offset, second.duplicate) == (2, False)
        store.clock.now += 24 * HOUR_MS - 1
        assert await log.append(new_message(4, channel, key="k")) == Appended(second.event, duplicate=True)


async def test_3_deleting_twice_is_the_first_deletion(log: MessageLog, channel: ChannelName) -> None:
    """The second deletion writes nothing and is answered with the first."""
    await fill(log, channel, 1)
    first = await log.append(deletion(1, channel))
    again = await log.append(replace(deletion(1, channel), at=NOW_MS + 99_999))
    assert again == Appended(first.event, duplicate=True)
    assert (await log.read(channel, 0, 0)).head.offset == 2


async def test_4_a_revision_is_the_next_state(log: MessageLog, channel: ChannelName) -> None:
    """It bumps `version`, sets `edited_at`, keeps author, creation time and offset, and has an offset of its own."""
    draft = replace(new_message(1, channel, key="k"), data={"a": 1})
    await log.append(draft)
    await log.append(new_message(2, channel))
    kept = (await log.append(edit(1, channel, "second"))).event
    replaced = (await log.append(replace(edit(1, channel, "third"), keep_data=False, at=NOW_MS + 7))).event
    assert isinstance(kept, MessageEdited)
    assert isinstance(replaced, MessageEdited)
    assert (kept.offset, kept.message.data, kept.message.version) == (3, {"a": 1}, 2)
    assert (replaced.offset, replaced.at, replaced.message.data, replaced.message.version) == (4, NOW_MS + 7, None, 3)
    assert (replaced.message.offset, replaced.message.created_at, replaced.message.edited_at) == (
        1,
        draft.at,
        NOW_MS + 7,
    )
    assert (replaced.message.author, replaced.message.key, replaced.message.text) == (draft.author, "k", "third")
    assert await log.message(channel, draft.id) == replaced.message


async def test_4_what_is_unknown_can_not_be_changed(log: MessageLog, channel: ChannelName) -> None:
    """`not_found()` in a channel without events, for an unknown id, and for another channel's; nothing is written."""
    other = ChannelName(f"{channel}:other")
    await fill(log, channel, 1)
    for draft in (edit(1, other), deletion(1, other), edit(2, channel), deletion(2, channel)):
        await refused(log, draft, not_found())
    assert (await log.read(channel, 0, 0)).head.offset == 1
    assert (await log.read(other, 0, 0)).head.offset == 0


async def test_4_what_is_deleted_can_not_be_edited(log: MessageLog, channel: ChannelName) -> None:
    """`already_deleted()`, and nothing is written."""
    await fill(log, channel, 1)
    await log.append(deletion(1, channel))
    await refused(log, edit(1, channel), already_deleted())
    assert (await log.read(channel, 0, 0)).head.offset == 2


async def test_4_a_deleted_message_leaves_a_tombstone(log: MessageLog, channel: ChannelName) -> None:
    """Its place stands in `message` and in `history`; its text does not."""
    await fill(log, channel, 3)
    await log.append(edit(2, channel))
    event = (await log.append(deletion(2, channel))).event
    tombstone = Tombstone(some_id(2), channel, 2)
    assert isinstance(event, MessageDeleted)
    assert (event.offset, event.id, event.at) == (5, some_id(2), NOW_MS + 20_002)
    assert await log.message(channel, some_id(2)) == tombstone
    page = await log.history(channel, None, None, 10)
    assert creations(page) == [1, 2, 3]
    assert page.messages[1] == tombstone


@pytest.mark.parametrize("user", ["alice", 'Zo\u00eb "Z" \\ \U0001f600', "a b"])
@pytest.mark.parametrize("edits", [0, 2])
async def test_4_a_tombstone_tells_its_author_from_others(
    store: LogStore, channel: ChannelName, user: str, edits: int
) -> None:
    """`message` has the digest of the author, whoever deletes, and also when the log is opened again."""
    author = UserId(user)
    async with store.open() as log:
        await fill(log, channel, 1)
        await log.append(replace(new_message(2, channel), author=Author(author, None)))
        for number in range(edits):
            await log.append(edit(2, channel, f"edit {number}"))
        await log.append(replace(deletion(2, channel), by=MODERATOR))
    async with store.open() as log:
        tombstone = await log.message(channel, some_id(2))
        assert isinstance(tombstone, Tombstone)
        assert tombstone.author == author_digest(some_id(2), author)
        assert tombstone.author != author_digest(some_id(1), author)


async def test_4_a_refused_draft_hurts_no_other(log: MessageLog, channel: ChannelName) -> None:
    """Among concurrent appends the refused ones fail, the others are written, dense."""
    await fill(log, channel, 1)
    drafts: list[Draft] = [
        new_message(2, channel),
        edit(99, channel),
        new_message(3, channel),
        deletion(98, channel),
        new_message(4, channel),
    ]
    results = await asyncio.gather(*(log.append(draft) for draft in drafts), return_exceptions=True)
    assert [type(result) for result in results] == [Appended, NotFound, Appended, NotFound, Appended]
    assert offsets((await log.read(channel, 0, 10)).events) == [1, 2, 3, 4]


async def test_4_an_id_is_of_one_message(log: MessageLog, channel: ChannelName) -> None:
    """A new message with the id of a kept one is refused as `id_taken()`, and changes nothing."""
    await fill(log, channel, 1)
    await refused(log, new_message(1, channel, text="other"), id_taken())
    assert (await log.read(channel, 0, 0)).head.offset == 1
    message = await log.message(channel, some_id(1))
    assert isinstance(message, Message)
    assert message.text == "number 1"


@pytest.mark.parametrize(
    ("after", "limit", "expected"),
    [
        (0, 10, [1, 2, 3, 4, 5]),
        (0, 2, [1, 2]),
        (2, 2, [3, 4]),
        (4, 10, [5]),
        (5, 10, []),
        (9, 10, []),
        (0, 0, []),
    ],
)
async def test_5_reads_a_slice_without_a_hole(
    log: MessageLog, channel: ChannelName, after: int, limit: int, expected: list[int]
) -> None:
    """The events after an offset, at most `limit`, with the floor and the head of the same moment."""
    await fill(log, channel, 5)
    replay = await log.read(channel, after, limit)
    assert offsets(replay.events) == expected
    assert (replay.floor, replay.head.offset) == (0, 5)


async def test_5_an_empty_channel_has_a_beginning(log: MessageLog, channel: ChannelName) -> None:
    """Floor 0, head 0, no events, no messages."""
    replay = await log.read(channel, 0, 10)
    page = await log.history(channel, None, None, 10)
    assert (replay.floor, replay.head.offset, list(replay.events)) == (0, 0, [])
    assert (page.head, list(page.messages), page.more) == (replay.head, [], False)
    assert await log.message(channel, some_id(1)) is None


async def test_5_below_the_floor_there_is_nothing(store: LogStore, channel: ChannelName) -> None:
    """From below the floor a read gives no events at all, from the floor on everything that is kept."""
    async with store.open(max_events=3) as log:
        await fill(log, channel, 5)
        below, at, above = [await log.read(channel, after, 10) for after in (1, 2, 3)]
        assert [replay.floor for replay in (below, at, above)] == [2, 2, 2]
        assert [offsets(replay.events) for replay in (below, at, above)] == [[], [3, 4, 5], [4, 5]]


async def test_5_an_edit_changes_no_event(log: MessageLog, channel: ChannelName) -> None:
    """After an edit the creation reads as it was, and the edit reads as an event of its own."""
    events = await fill(log, channel, 1)
    events.append((await log.append(edit(1, channel))).event)
    assert list((await log.read(channel, 0, 10)).events) == events
    assert [type(event) for event in events] == [MessageCreated, MessageEdited]


async def test_5_a_deletion_erases_the_events_of_its_message(store: LogStore, channel: ChannelName) -> None:
    """Every event of a deleted message keeps its place and loses its text; other messages keep theirs."""
    if not store.erases:
        return
    async with store.open() as log:
        events = await fill(log, channel, 2)
        events.append((await log.append(edit(1, channel, "first edit"))).event)
        events.append((await log.append(edit(1, channel, "second edit"))).event)
        events.append((await log.append(replace(deletion(1, channel), by=MODERATOR))).event)
        expected = list(without_deleted(events))
        assert [type(event) for event in expected] == [
            MessageErased,
            MessageCreated,
            MessageErased,
            MessageErased,
            MessageDeleted,
        ]
        assert list((await log.read(channel, 0, 10)).events) == expected
        tombstone = Tombstone(some_id(1), channel, 1, MODERATOR)
        assert await log.message(channel, some_id(1)) == tombstone
        assert (await log.history(channel, None, None, 10)).messages[0] == tombstone
    async with store.open() as log:
        assert list((await log.read(channel, 0, 10)).events) == expected


async def test_5_an_erased_event_may_be_trimmed(store: LogStore, channel: ChannelName) -> None:
    """A deletion whose message is partly dropped erases the rest, and the places of the erased events are dropped in
    their turn."""
    async with store.open(max_events=4) as log:
        await fill(log, channel, 2)
        await log.append(edit(2, channel))
        await log.append(deletion(2, channel))
        for number in range(3, 9):
            await log.append(new_message(number, channel))
        assert offsets((await log.read(channel, 6, 10)).events) == [7, 8, 9, 10]
        assert await log.message(channel, some_id(2)) is None


async def test_5_an_entry_of_an_unknown_kind_has_its_place(store: LogStore, channel: ChannelName) -> None:
    """An entry that a newer version wrote is read at its offset, and the next append comes behind it. It is no message
    and changes none."""
    async with store.open() as log:
        await fill(log, channel, 2)
    unknown = await store.write_unknown(channel)
    async with store.open() as log:
        head = (await log.read(channel, 0, 0)).head
        assert (unknown.epoch, unknown.offset) == (head.epoch, head.offset) == (head.epoch, 3)
        assert (await log.append(new_message(4, channel))).event.offset == 4
        edited = (await log.append(edit(1, channel))).event
        events = (await log.read(channel, 1, 10)).events
        assert (offsets(events), events[1], events[3]) == ([2, 3, 4, 5], unknown, edited)
        assert offsets((await log.read(channel, 2, 1)).events) == [3]
        assert creations(await log.history(channel, None, None, 10)) == [1, 2, 4]
        assert (await log.append(deletion(2, channel))).event.offset == 6


async def test_5_a_read_beside_appends_is_of_one_moment(log: MessageLog, channel: ChannelName) -> None:
    """While others append, each read ends exactly at the head that it tells."""

    async def reader() -> None:
        head = 0
        while head < 200:
            replay = await log.read(channel, 0, 1_000)
            head = replay.head.offset
            assert offsets(replay.events) == list(range(1, head + 1))
            await asyncio.sleep(0)

    async def writer(start: int) -> None:
        for number in range(start, start + 100):
            await log.append(new_message(number, channel))

    async with asyncio.timeout(DEADLINE_S * 4), asyncio.TaskGroup() as tasks:
        for job in (reader(), reader(), writer(0), writer(100)):
            tasks.create_task(job)


@pytest.mark.parametrize(
    ("before", "after", "limit", "expected", "more"),
    [
        (None, None, 10, [1, 3, 5, 6, 8], False),
        (None, None, 5, [1, 3, 5, 6, 8], False),
        (None, None, 2, [6, 8], True),
        (6, None, 2, [3, 5], True),
        (6, None, 3, [1, 3, 5], False),
        (7, None, 1, [6], True),
        (1, None, 10, [], False),
        (None, 0, 2, [1, 3], True),
        (None, 1, 2, [3, 5], True),
        (None, 5, 2, [6, 8], False),
        (None, 8, 2, [], False),
        (8, 1, 10, [3, 5, 6], False),
        (8, 1, 2, [5, 6], True),
        (3, 1, 10, [], False),
        (1, 8, 10, [], False),
        (99, 5, 1, [8], True),
    ],
)
async def test_6_pages_go_by_the_creation(
    log: MessageLog,
    channel: ChannelName,
    before: int | None,
    after: int | None,
    limit: int,
    expected: list[int],
    more: bool,
) -> None:
    """Both bounds are exclusive: the newest below `before`, the oldest above `after` alone; oldest first."""
    for number in (1, 2, 3, 4, 5, 6, 7, 8, 9):
        changes: dict[int, Draft] = {
            2: edit(1, channel),
            4: deletion(3, channel),
            7: edit(6, channel),
            9: edit(8, channel),
        }
        await log.append(changes.get(number) or new_message(number, channel))
    page = await log.history(channel, before, after, limit)
    assert (creations(page), page.more, page.head.offset) == (expected, more, 9)
    for message in page.messages:
        assert isinstance(message, Tombstone) == (message.offset == 3)
        assert message == await log.message(channel, message.id)


async def test_7_an_epoch_is_there_before_the_first_event(log: MessageLog, channel: ChannelName) -> None:
    """Every reader gets the same epoch, before the first event and after it."""
    before = await asyncio.gather(*(log.read(channel, 0, 0) for _ in range(3)))
    page = await log.history(channel, None, None, 1)
    event = (await log.append(new_message(1, channel))).event
    after = await log.read(channel, 0, 0)
    assert {event.epoch, page.head.epoch, after.head.epoch, *(replay.head.epoch for replay in before)} == {event.epoch}
    assert event.epoch


async def test_7_an_epoch_outlives_the_log_object(store: LogStore, channel: ChannelName) -> None:
    """It is the same after closing and opening, with events and without."""
    other = ChannelName(f"{channel}:other")
    async with store.open() as log:
        await fill(log, channel, 1)
        before = [(await log.read(name, 0, 0)).head for name in (channel, other)]
    async with store.open() as log:
        assert [(await log.read(name, 0, 0)).head for name in (channel, other)] == before


async def test_7_an_epoch_ends_with_the_log(store: LogStore, channel: ChannelName) -> None:
    """After a loss every channel is empty and has another epoch, also one that had no event."""
    other = ChannelName(f"{channel}:other")
    async with store.open() as log:
        await fill(log, channel, 2)
        before = [(await log.read(name, 0, 0)).head.epoch for name in (channel, other)]
    store.lose()
    async with store.open() as log:
        after = [(await log.read(name, 0, 0)).head for name in (channel, other)]
    assert [head.offset for head in after] == [0, 0]
    assert not {head.epoch for head in after} & set(before)


async def test_8_a_channel_keeps_so_many_events(store: LogStore, channel: ChannelName) -> None:
    """Over the count the oldest go, with each append; another channel keeps its own."""
    other = ChannelName(f"{channel}:other")
    async with store.open(max_events=10) as log:
        await fill(log, other, 4)
        for number in range(1, 31):
            await log.append(new_message(number, channel))
            replay = await log.read(channel, max(0, number - 10), 100)
            assert (replay.floor, replay.head.offset) == (max(0, number - 10), number)
            assert offsets(replay.events) == list(range(replay.floor + 1, number + 1))
        assert (await log.read(other, 0, 0)).floor == 0


async def test_8_a_concurrent_burst_keeps_so_many_events(store: LogStore, channel: ChannelName) -> None:
    """Also if hundreds of appends are written at once."""
    async with store.open(max_events=10) as log:
        await asyncio.gather(*(log.append(new_message(number, channel)) for number in range(300)))
        replay = await log.read(channel, 290, 100)
        assert (replay.floor, replay.head.offset) == (290, 300)
        assert offsets(replay.events) == list(range(291, 301))


async def test_8_with_its_creation_a_message_is_dropped(store: LogStore, channel: ChannelName) -> None:
    """Its edit may still be read as an event; the message, or its tombstone, is gone and can't be changed."""
    async with store.open(max_events=4) as log:
        await fill(log, channel, 2)
        await log.append(edit(1, channel))
        await log.append(deletion(2, channel))
        await log.append(new_message(5, channel))
        await log.append(new_message(6, channel))
        assert offsets((await log.read(channel, 2, 10)).events) == [3, 4, 5, 6]
        assert creations(await log.history(channel, None, None, 10)) == [5, 6]
        assert [await log.message(channel, some_id(number)) for number in (1, 2)] == [None, None]
        for draft in (edit(1, channel), deletion(1, channel), deletion(2, channel)):
            await refused(log, draft, not_found())
        assert not (await log.append(new_message(1, channel))).duplicate


async def test_8_what_is_too_old_is_dropped(store: LogStore, channel: ChannelName) -> None:
    """Events older than the age go, in channels that nobody writes to as well; the head stays."""
    idle = ChannelName(f"{channel}:idle")
    async with store.open(max_age_ms=HOUR_MS) as log:
        await fill(log, idle, 3)
        await fill(log, channel, 3)
        store.clock.now += HOUR_MS // 2
        await log.append(new_message(4, channel))
        store.clock.now += HOUR_MS // 2 + 1

        async def trimmed() -> bool:
            return [(await log.read(name, 0, 0)).floor for name in (channel, idle)] == [3, 3]

        await eventually(trimmed)
        assert offsets((await log.read(channel, 3, 10)).events) == [4]
        assert (await log.read(idle, 3, 10)).head.offset == 3
        assert creations(await log.history(channel, None, None, 10)) == [4]
        assert creations(await log.history(idle, None, None, 10)) == []
        assert (await log.append(new_message(9, idle))).event.offset == 4


async def floors(log: MessageLog, *channels: ChannelName) -> list[int]:
    """Up to where the channels keep nothing."""
    return [(await log.read(channel, 0, 0)).floor for channel in channels]


async def test_8_a_rule_says_how_many_events_a_channel_keeps(store: LogStore, channel: ChannelName) -> None:
    """Fewer or more than the others, which go on as if there were no rules."""
    few, many = ChannelName(f"{channel}:few"), ChannelName(f"{channel}:many")
    rules = {few: Rule(retention_events=2), f"{channel}:m*": Rule(retention_events=5), "*": Rule(slow_mode_s=1)}
    async with store.open(max_events=3, rules=rules) as log:
        for name in (few, channel, many):
            await fill(log, name, 6)
        assert await floors(log, few, channel, many) == [4, 3, 1]
        assert offsets((await log.read(many, 1, 10)).events) == [2, 3, 4, 5, 6]
        assert creations(await log.history(few, None, None, 10)) == [5, 6]


async def test_8_a_rule_says_for_how_long_a_channel_keeps_them(store: LogStore, channel: ChannelName) -> None:
    """In channels that nobody writes to, too; a channel without a rule keeps them as long as always."""
    brief, long = ChannelName(f"{channel}:brief"), ChannelName(f"{channel}:long")
    rules: dict[str, Rule] = {brief: Rule(retention_age_s=600), long: Rule(retention_age_s=7 * 86_400)}
    async with store.open(max_age_ms=HOUR_MS, rules=rules) as log:
        for name in (brief, channel, long):
            await fill(log, name, 3)
        for later, kept in ((600_001, [3, 0, 0]), (HOUR_MS - 600_000, [3, 3, 0])):
            store.clock.now += later

            async def trimmed(kept: list[int] = kept) -> bool:
                return await floors(log, brief, channel, long) == kept

            await eventually(trimmed)
        assert (await log.append(new_message(9, brief))).event.offset == 4
        assert offsets((await log.read(long, 0, 10)).events) == [1, 2, 3]


async def test_8_a_rule_that_is_lowered_at_a_restart(store: LogStore, channel: ChannelName) -> None:
    """Holds from then on: by age soon, by number soon after the next message. A rule that is raised does not bring
    back what has been dropped."""
    old = ChannelName(f"{channel}:old")
    async with store.open(max_events=10, rules={f"{channel}*": Rule(retention_events=100)}) as log:
        for name in (channel, old):
            await fill(log, name, 20)
        assert await floors(log, channel, old) == [0, 0]
    store.clock.now += HOUR_MS + 1
    rules: dict[str, Rule] = {channel: Rule(retention_events=2), old: Rule(retention_events=100, retention_age_s=3_600)}
    async with store.open(max_events=10, rules=rules) as log:

        async def trimmed() -> bool:
            return await floors(log, old, channel) == [20, 19]

        await log.append(new_message(99, channel))
        await eventually(trimmed)
        assert creations(await log.history(channel, None, None, 10)) == [20, 21]
    async with store.open(max_events=10, rules={f"{channel}*": Rule(retention_events=100)}) as log:
        assert await floors(log, channel) == [19]


async def test_8_an_entry_of_an_unknown_kind_counts_and_ages(store: LogStore, channel: ChannelName) -> None:
    """It counts as one of the kept events, and is dropped with age as any other."""
    async with store.open(max_events=4, max_age_ms=HOUR_MS) as log:
        await fill(log, channel, 3)
    unknown = await store.write_unknown(channel)
    store.clock.now += HOUR_MS // 2
    async with store.open(max_events=4, max_age_ms=HOUR_MS) as log:
        await log.append(new_message(5, channel))
        replay = await log.read(channel, 1, 10)
        assert (replay.floor, offsets(replay.events)) == (1, [2, 3, 4, 5])
        assert replay.events[2] == unknown
        store.clock.now += HOUR_MS // 2 + 1

        async def trimmed() -> bool:
            return (await log.read(channel, 0, 0)).floor == 4

        await eventually(trimmed)
        assert offsets((await log.read(channel, 4, 10)).events) == [5]


async def test_8_a_key_outlives_its_event(store: LogStore, channel: ChannelName) -> None:
    """If the event itself is dropped, a repeat is answered with the id, time and offset of the first message."""
    async with store.open(max_events=2) as log:
        first = new_message(1, channel, key="k")
        await log.append(first)
        for number in (2, 3, 4):
            await log.append(new_message(number, channel))
        again = await log.append(replace(new_message(5, channel, key="k"), text=first.text))
        assert again.duplicate
        assert isinstance(again.event, MessageCreated)
        assert (again.event.offset, again.event.at, again.event.message.id) == (1, first.at, first.id)
        assert (again.event.message.created_at, again.event.message.text) == (first.at, first.text)
        assert (await log.read(channel, 0, 0)).head.offset == 4


async def test_10_cancelling_gives_up_the_answer(log: MessageLog, channel: ChannelName) -> None:
    """A cancelled append that had begun is written all the same, once, and those around it are answered."""
    drafts = [new_message(number, channel, key=f"k{number}") for number in range(1, 4)]
    tasks = [asyncio.ensure_future(log.append(draft)) for draft in drafts]
    await asyncio.sleep(0)
    tasks[1].cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [offsets([result.event]) for result in (results[0], results[2]) if isinstance(result, Appended)] == [
        [1],
        [3],
    ]
    again = await log.append(replace(drafts[1], id=some_id(9)))
    assert again.duplicate
    assert [again.event] == (await log.read(channel, 1, 1)).events


async def test_12_submitted_drafts_keep_their_order(log: MessageLog, channel: ChannelName) -> None:
    """Senders that wait for nothing: each one's drafts are written in its order and answered once, as if appended. A
    refusal that can't be tried again fails no sender, and harms no draft behind it."""
    senders = [Sender(), Sender()]
    outcomes: list[list[Appended | Exception]] = [[], []]
    for number in range(1, 21):
        for which, sender in enumerate(senders):
            log.submit(new_message(100 * which + number, channel), sender, outcomes[which].append)
            if number % 5 == 0:
                log.submit(edit(1_000, channel), sender, outcomes[which].append)

    async def all_told() -> bool:
        return all(len(told) == 24 for told in outcomes)

    await eventually(all_told)
    events = (await log.read(channel, 0, 100)).events
    assert offsets(events) == list(range(1, 41))
    for which, told in enumerate(outcomes):
        refusals = [outcome for outcome in told if not isinstance(outcome, Appended)]
        assert [type(refusal) for refusal in refusals] == [NotFound] * 4
        written = [outcome.event for outcome in told if isinstance(outcome, Appended)]
        assert [event.message.text for event in written if isinstance(event, MessageCreated)] == [
            f"number {100 * which + number}" for number in range(1, 21)
        ]
        assert set(written) <= set(events)
        assert offsets(written) == sorted(offsets(written))
        assert not senders[which].failed


async def test_the_largest_message_is_kept(log: MessageLog, channel: ChannelName) -> None:
    """Text and data of the largest message that a client may send are read as they were sent."""
    draft: NewMessage = replace(new_message(1, channel, text="🙂" * 4_000), data={"blob": "x" * 8_000})
    await log.append(draft)
    message = await log.message(channel, draft.id)
    assert isinstance(message, Message)
    assert (message.text, message.data) == (draft.text, draft.data)


async def test_heads_are_those_of_reads(log: MessageLog, channel: ChannelName) -> None:
    """Of channels with and without events, if the log tells them at all."""
    await fill(log, channel, 3)
    channels = [channel, ChannelName(f"{channel}:empty"), ChannelName(f"{channel}:'\"")]
    heads = await log.heads(channels)
    assert heads in ({each: (await log.read(each, 0, 0)).head for each in channels}, None)
