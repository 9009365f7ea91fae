"""The promises of the events of applications, by their numbers, held by every store."""

import asyncio
from typing import Any

import pytest

from server.domain.appending import Appended
from server.domain.channels import ChannelName
from server.domain.drafts import Record
from server.domain.errors import RateLimited
from server.domain.events import EventPublished, MessageCreated
from server.domain.gcra import Rate
from server.domain.identity import Author, UserId
from server.domain.limits import KEY_LIFETIME_MS
from server.ports.records import Recorded, RecordPage
from tests.contracts.conftest import LogStore
from tests.contracts.people_stores import opened, replicas
from tests.doubles.samples import NOW_MS, new_message

ALICE = Author(UserId("alice"), "Alice")


def record(
    number: int, channel: ChannelName, name: str = "order.paid", *, key: str | None = None, data: Any = None
) -> Record:
    """A record whose time has this number."""
    return Record(channel, name, ALICE, data, key, NOW_MS + number)


def offsets(page: RecordPage) -> list[int]:
    """The offsets of a page."""
    return [event.offset for event in page.events]


async def test_1_a_record_is_an_event_of_the_log(people_store: LogStore, channel: ChannelName) -> None:
    """It takes the next offset, among messages, and every replica reads it whole."""
    data: Any = [1, {"a": None, "b": "마루\n\u2028\x00"}, 2.5, True, ""]
    async with replicas(people_store) as (one, two):
        await one.log.append(new_message(1, channel))
        recorded = await one.records.record(record(2, channel, data=data, key="k"))
        bare = await two.records.record(Record(channel, "n", Author(UserId("bot"), None), None, None, NOW_MS))
        await one.log.append(new_message(4, channel))
        replay = await two.log.read(channel, 0, 10)
        event = EventPublished(channel, replay.head.epoch, 2, NOW_MS + 2, "order.paid", ALICE, data, "k")
        assert recorded == Recorded(event, duplicate=False, hinted=recorded.hinted)
        assert list(replay.events[1:3]) == [event, bare.event]
        assert [each.offset for each in replay.events] == [1, 2, 3, 4]
        assert len((await one.log.history(channel, None, None, 10)).messages) == 2


async def test_1_a_key_is_one_event(people_store: LogStore, channel: ChannelName) -> None:
    """Also for two replicas, in one go, and after opening again; another author's key is another, and so is none."""
    async with replicas(people_store) as (one, two):
        calls = [each.records.record(record(1, channel, key="k")) for each in (one, two) for _ in range(5)]
        recorded = await asyncio.gather(*calls)
        assert {each.event.offset for each in recorded} == {1}
        assert [each.duplicate for each in recorded].count(False) == 1
        other = Record(channel, "n", Author(UserId("bob"), None), None, "k", NOW_MS)
        assert (await one.records.record(other)).event.offset == 2
        assert [(await one.records.record(record(2, channel))).event.offset for _ in range(2)] == [3, 4]
    async with opened(people_store) as people:
        repeated = await people.records.record(record(9, channel, key="k", data="other"))
        assert (repeated.event, repeated.duplicate) == (recorded[0].event, True)
        people_store.clock.now += KEY_LIFETIME_MS + 1
        assert not (await people.records.record(record(9, channel, key="k"))).duplicate


async def test_1_keys_of_records_and_of_messages_do_not_meet(people_store: LogStore, channel: ChannelName) -> None:
    """A message and a record with the same key are two events."""
    async with opened(people_store) as people:
        assert (await people.records.record(record(1, channel, key="k"))).event.offset == 1
        sent = await people.log.append(new_message(2, channel, key="k"))
        assert isinstance(sent.event, MessageCreated)
        assert (sent.event.offset, sent.duplicate) == (2, False)
        assert (await people.records.record(record(3, channel, key="k"))).event.offset == 1
        assert await people.log.append(new_message(4, channel, key="k")) == Appended(sent.event, duplicate=True)


async def test_1_a_key_outlives_its_event(people_store: LogStore, channel: ChannelName) -> None:
    """The offset and the time are of the first; the content is that of the repeat."""
    async with opened(people_store, max_events=2) as people:
        first = (await people.records.record(record(1, channel, key="k", data=7))).event
        for number in (2, 3, 4):
            await people.log.append(new_message(number, channel))
        repeated = await people.records.record(record(5, channel, key="k", data=7))
        assert (repeated.event, repeated.duplicate) == (first, True)


async def test_1_a_channels_rate_counts_records(people_store: LogStore, channel: ChannelName) -> None:
    """A record over the rate is refused; a repeated one is not."""
    async with opened(people_store, rate=Rate(4.0, 3)) as people:
        for number in (1, 2, 3):
            await people.records.record(record(number, channel, key=str(number)))
        with pytest.raises(RateLimited):
            await people.records.record(record(4, channel))
        assert (await people.records.record(record(5, channel, key="1"))).duplicate
        people_store.clock.now += 251
        assert (await people.records.record(record(4, channel))).event.offset == 4


async def test_2_pages_are_like_those_of_messages(people_store: LogStore, channel: ChannelName) -> None:
    """Of all names or of one, from either end, between two offsets; `more` tells of what lies beyond."""
    async with opened(people_store) as people:
        for number in range(1, 13):  # 1 message, 2 b, 3 a, 4 message, 5 b, 6 a ...
            match number % 3:
                case 1:
                    await people.log.append(new_message(number, channel))
                case rest:
                    await people.records.record(record(number, channel, "ba"[rest // 2 - 1] if rest else "a"))
        page = people.records.page
        assert offsets(await page(channel, None, None, None, 100)) == [2, 3, 5, 6, 8, 9, 11, 12]
        assert offsets(newest := await page(channel, None, None, None, 3)) == [9, 11, 12]
        assert newest.more
        assert newest.head == (await people.log.read(channel, 0, 0)).head
        assert offsets(await page(channel, None, 9, None, 3)) == [5, 6, 8]
        assert offsets(await page(channel, None, None, 5, 3)) == [6, 8, 9]
        assert offsets(between := await page(channel, None, 9, 2, 10)) == [3, 5, 6, 8]
        assert not between.more
        assert offsets(await page(channel, None, 9, 2, 2)) == [6, 8]
        assert offsets(named := await page(channel, "a", None, None, 2)) == [9, 12]
        assert named.more
        assert {event.name for event in named.events} == {"a"}
        assert offsets(await page(channel, "a", None, 3, 2)) == [6, 9]
        assert offsets(await page(channel, "a", 6, None, 2)) == [3]
        assert offsets(await page(channel, "none", None, None, 2)) == []
        assert offsets(await page(ChannelName(f"{channel}:other"), None, None, None, 2)) == []


async def test_3_records_are_not_unread_and_go_with_retention(people_store: LogStore, channel: ChannelName) -> None:
    """Only messages count, and a page has what the log has."""
    async with opened(people_store, max_events=3) as people:
        await people.records.record(record(1, channel))
        await people.log.append(new_message(2, channel))
        assert await people.counts("bob", channel) == (0, 1, 0)
        for number in (3, 4, 5):
            await people.records.record(record(number, channel))
        assert offsets(page := await people.records.page(channel, None, None, None, 10)) == [3, 4, 5]
        assert not page.more
        assert offsets(await people.records.page(channel, "order.paid", None, 0, 2)) == [3, 4]
        assert await people.counts("bob", channel) == (0, 0, 0)
