"""Reactions, records, marks and follows in Redis over its life: lost and forged keys, full memory, crashes, a former
version beside this one, forgetting."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import orjson
import pytest
import pytest_asyncio

from server.adapters.redis import keys
from server.adapters.redis.clocks import Clocks
from server.adapters.redis.follows import RedisFollows
from server.adapters.redis.hints import cut_seal, decode_hint
from server.adapters.redis.marks import RedisMarks
from server.adapters.redis.message_log import RedisMessageLog
from server.adapters.redis.reactions import RedisReactions
from server.adapters.redis.records import RedisRecords
from server.adapters.seal import Seal
from server.domain.channels import ChannelName
from server.domain.drafts import Deletion, Reaction, Record, Revision
from server.domain.errors import MaruError, Unavailable
from server.domain.events import Event, EventPublished
from server.domain.identity import Author, UserId
from server.domain.messages import EVERYBODY, Message
from tests.doubles.clock import Clock
from tests.doubles.samples import HOUR_MS, NOW_MS, new_message, some_id
from tests.harness.redis import RedisProcess

DAY_MS = 24 * HOUR_MS
DEADLINE_S = 10.0
ALICE, BOB, CAROL = UserId("alice"), UserId("bob"), UserId("carol")

_numbers = count(1)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def redis(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RedisProcess]:
    """One Redis for this module. A test that restarts it, or fills it, makes another."""
    async with RedisProcess(tmp_path_factory.mktemp("redis")) as process:
        yield process


@pytest.fixture
def channel() -> ChannelName:
    """A channel that no other test uses."""
    return ChannelName(f"people:{next(_numbers)}")


@pytest.fixture
def now() -> Clock:
    """The time of Redis, for every log of the test."""
    return Clock()


class People:
    """A log, and its parts."""

    def __init__(self, log: RedisMessageLog) -> None:
        self.log, self.marks = log, RedisMarks(log)
        self.reactions, self.records, self.follows = (
            RedisReactions(log),
            RedisRecords(log),
            RedisFollows(log, self.marks),
        )

    async def counts(self, channel: ChannelName, user: UserId) -> tuple[int, int, int]:
        """The user's mark, and the two counts behind it."""
        mark = (await self.marks.marks(user, [channel]))[channel]
        return mark.offset, mark.unread, mark.unread_mentions

    async def send(self, channel: ChannelName, first: int, last: int, *mentions: UserId) -> None:
        """Let Alice send the messages with these numbers."""
        drafts = [replace(new_message(number, channel), mentions=mentions) for number in range(first, last + 1)]
        for start in range(0, len(drafts), 100):
            await asyncio.gather(*(self.log.append(draft) for draft in drafts[start : start + 100]))

    async def react(self, channel: ChannelName, number: int, user: UserId = BOB, emoji: str = "+1") -> None:
        """Let a user react to the message with this number."""
        await self.reactions.react(Reaction(channel, some_id(number), emoji, user, True, NOW_MS))

    async def reacted(self, channel: ChannelName, number: int) -> list[tuple[str, int]]:
        """The emojis of the message with this number, with their counts."""
        message = await self.log.message(channel, some_id(number))
        assert isinstance(message, Message)
        return [(each.emoji, each.count) for each in message.reactions]


@asynccontextmanager
async def people_at(redis: RedisProcess, now: Clock, max_events: int = 10_000) -> AsyncIterator[People]:
    """The log of a replica, with its parts."""
    async with RedisMessageLog(redis.url, max_events=max_events, max_age_ms=DAY_MS, clocks=Clocks(now, now)) as log:
        yield People(log)


@pytest.fixture
async def people(redis: RedisProcess, now: Clock) -> AsyncIterator[People]:
    """The log of one replica."""
    async with people_at(redis, now) as one:
        yield one


def record(channel: ChannelName, number: int, key: str | None = None) -> Record:
    """An event of an application."""
    return Record(channel, f"name.{number % 3}", Author(ALICE, None), {"number": number}, key, NOW_MS + number)


async def refused(call: Awaitable[Any]) -> None:
    """Assert that the call is refused as it is if Redis is full or damaged."""
    with pytest.raises(Unavailable):
        await call


async def names_of(redis: RedisProcess, channel: ChannelName) -> list[str]:
    """How the keys of the channel alone end."""
    found: list[bytes] = await redis.command("KEYS", f"*}}:{channel}:*")
    return sorted(name.decode().split(f":{channel}:", 1)[1] for name in found)


# Keys that are lost, or forged


async def test_lost_keys_cost_what_they_held_and_no_more(
    redis: RedisProcess, people: People, channel: ChannelName
) -> None:
    """Whichever of these keys Redis drops, the log goes on in its epoch, and what is counted from other keys is
    right."""
    await people.send(channel, 1, 5, BOB)
    await people.react(channel, 3)
    await people.records.record(record(channel, 1))
    await people.log.append(Deletion(channel, some_id(2), NOW_MS))
    await people.marks.mark(channel, BOB, 1)
    epoch = (await people.log.read(channel, 0, 0)).head.epoch
    assert await people.counts(channel, BOB) == (1, 3, 3)
    await redis.command("DEL", keys.erased(channel))
    assert await people.counts(channel, BOB) == (1, 3, 3)
    await redis.command("DEL", keys.mentions(channel))
    assert await people.counts(channel, BOB) == (1, 3, 0)
    await redis.command("DEL", keys.reads(channel))
    assert await people.counts(channel, BOB) == (0, 4, 0)
    await redis.command("DEL", keys.reactors(channel, some_id(3)))
    await people.react(channel, 3, CAROL, "x")
    assert await people.reacted(channel, 3) == [("x", 1)]
    await redis.command("DEL", keys.reacted(channel), keys.records(channel))
    assert await people.reacted(channel, 3) == []
    assert (await people.records.page(channel, None, None, None, 10)).events == []
    assert (await people.log.read(channel, 0, 0)).head.epoch == epoch


@pytest.mark.parametrize("name", ["reads", "mentions", "erased", "reacted", "records"])
async def test_a_key_of_another_kind_stops_no_message(
    redis: RedisProcess, people: People, channel: ChannelName, name: str
) -> None:
    """Messages are sent, deleted and read; a change that needs the key is refused and writes nothing, or replaces the
    key."""
    await people.send(channel, 1, 3)
    await redis.command("SET", keys.log(channel)[: -len("log")] + name, "forged")
    await people.send(channel, 4, 5, BOB)
    await people.log.append(new_message(6, channel))
    await people.log.append(Deletion(channel, some_id(2), NOW_MS))
    page = await people.log.history(channel, None, None, 10)
    assert len(page.messages) == 6
    assert len((await people.log.read(channel, 0, 100)).events) == page.head.offset == 7
    if name == "reacted":
        await refused(people.reactions.react(Reaction(channel, some_id(3), "x", BOB, True, NOW_MS)))
    elif name == "records":
        await refused(people.records.record(record(channel, 1, "key")))
    else:
        await people.marks.mark(channel, BOB, 3)
        assert await people.counts(channel, BOB) == (3, 3, 2)
    assert (await people.log.read(channel, 0, 0)).head.offset == 7


async def test_a_mark_behind_the_end_of_the_log_is_moved_back(
    redis: RedisProcess, people: People, channel: ChannelName
) -> None:
    """The next message is unread, and not read by a mark that another log has left."""
    await people.send(channel, 1, 3)
    await redis.command("ZADD", keys.reads(channel), 1_000, BOB)
    assert await people.counts(channel, BOB) == (3, 0, 0)
    await people.send(channel, 4, 5)
    assert await people.counts(channel, BOB) == (3, 2, 0)


# A former version


async def test_a_former_version_reads_each_entry(redis: RedisProcess, people: People, channel: ChannelName) -> None:
    """It takes the first field of an entry, and the state of a message: both have the five parts that it knows. The
    number of words of `meta` is the same."""
    await people.send(channel, 1, 1, BOB)
    await people.react(channel, 1)
    await people.log.append(Revision(channel, some_id(1), "better", None, True, NOW_MS))
    entries = [fields[b"e"] for _, fields in await redis.command("XRANGE", keys.log(channel), "-", "+")]
    packed = [*entries[:1], *entries[2:], *(await redis.command("HVALS", keys.state(channel)))]
    assert [each[:1] for each in entries] == [b"c", b"r", b"e"]
    for each in packed:
        *_, head_size, _, _, content = each.split(b" ", 10)
        assert len(orjson.loads(content[: int(head_size)])) == 5
    assert len((await redis.command("GET", keys.meta(channel))).split()) == 14
    message = await people.log.message(channel, some_id(1))
    assert isinstance(message, Message)
    assert (message.mentions, message.text) == ((BOB,), "better")


async def test_what_a_former_version_deletes_and_trims_is_not_unread(
    redis: RedisProcess, people: People, channel: ChannelName
) -> None:
    """It erases without the index of erased events: the index is made anew if it is not whole."""
    await people.send(channel, 1, 6, EVERYBODY)
    await people.log.append(Deletion(channel, some_id(2), NOW_MS))
    before = await redis.command("ZRANGE", keys.erased(channel), 0, -1)
    await people.log.append(Revision(channel, some_id(4), "edited", None, True, NOW_MS))
    await people.log.append(Deletion(channel, some_id(4), NOW_MS))
    await redis.command("ZREMRANGEBYSCORE", keys.erased(channel), "3", "+inf")  # as if it had deleted the fourth
    assert before != await redis.command("ZRANGE", keys.erased(channel), 0, -1)
    assert await people.counts(channel, BOB) == (0, 4, 4)
    assert await redis.command("ZCARD", keys.erased(channel)) == 3


async def test_what_a_former_version_has_left_of_a_forgotten_log_is_no_part_of_the_next(
    redis: RedisProcess, people: People, channel: ChannelName
) -> None:
    """It removes the keys that it knows; the first message of the next log removes the others."""
    await people.send(channel, 1, 3, BOB)
    await people.react(channel, 1)
    await people.records.record(record(channel, 1))
    await people.marks.mark(channel, CAROL, 2)
    await redis.command("DEL", keys.meta(channel), keys.log(channel), keys.order(channel), keys.state(channel))
    await redis.command("ZREM", keys.idle(keys.partition(channel)), channel)
    await people.send(channel, 10, 10)
    assert await people.counts(channel, CAROL) == (0, 1, 0)
    assert (await people.records.page(channel, None, None, None, 10)).events == []
    left = await names_of(redis, channel)
    assert [name for name in left if name.startswith("react") or name == "mentions"] == []


# A full Redis


async def test_a_full_redis_refuses_without_half_writes(tmp_path: Path, channel: ChannelName, now: Clock) -> None:
    """Each change is refused whole, reads go on, and all changes are made once there is room."""
    async with RedisProcess(tmp_path / "redis") as redis, people_at(redis, now) as people:
        await people.send(channel, 1, 5, BOB)
        await people.log.append(Deletion(channel, some_id(2), NOW_MS))
        await redis.command("DEL", keys.erased(channel))
        await redis.command("CONFIG", "SET", "maxmemory", 1)
        before = await names_of(redis, channel)
        await refused(people.reactions.react(Reaction(channel, some_id(1), "x", BOB, True, NOW_MS)))
        await refused(people.records.record(record(channel, 1, "key")))
        await refused(people.marks.mark(channel, BOB, 3))
        await refused(people.follows.follow(BOB, channel))
        assert await names_of(redis, channel) == before
        assert await people.counts(channel, BOB) == (0, 4, 4)  # although an index is missing
        assert [each.mark.unread for each in await people.marks.inbox(BOB, [channel])] == [4]
        await redis.command("CONFIG", "SET", "maxmemory", 0)
        await people.react(channel, 1)
        assert not (await people.records.record(record(channel, 1, "key"))).duplicate
        assert await people.follows.follow(BOB, channel)
        assert await people.counts(channel, BOB) == (8, 0, 0)  # the follow has moved the mark


# Lost logs, restarts, crashes


async def test_a_lost_log_has_no_marks(redis: RedisProcess, people: People, channel: ChannelName) -> None:
    """Nothing of the people is left in the new epoch, but who follows the channel."""
    await people.send(channel, 1, 3, BOB)
    await people.react(channel, 1)
    await people.records.record(record(channel, 1))
    await people.marks.mark(channel, BOB, 2)
    await people.follows.follow(CAROL, channel)
    await redis.command("DEL", keys.log(channel))
    assert await people.counts(channel, BOB) == (0, 0, 0)
    assert await names_of(redis, channel) == ["followers"]


async def test_the_same_log_keeps_its_marks_in_another_epoch(tmp_path: Path, channel: ChannelName, now: Clock) -> None:
    """A restart that a stranger finds is a new epoch, and loses no mark, no mention, no reaction, no record."""
    async with RedisProcess(tmp_path / "redis") as redis:
        async with people_at(redis, now) as people:
            await people.send(channel, 1, 4, BOB)
            await people.react(channel, 4)
            await people.records.record(record(channel, 1))
            await people.marks.mark(channel, BOB, 2)
            epoch = (await people.log.read(channel, 0, 0)).head.epoch
        redis.kill()
        await redis.start()
        async with people_at(redis, now) as stranger:
            assert await stranger.counts(channel, BOB) == (2, 2, 2)
            assert (await stranger.log.read(channel, 0, 0)).head.epoch != epoch
            assert await stranger.reacted(channel, 4) == [("+1", 1)]
            assert len((await stranger.records.page(channel, None, None, None, 10)).events) == 1


async def work(people: People, channel: ChannelName, kind: str, answered: list[int], enough: asyncio.Event) -> None:
    """React, record or mark until that fails. `answered` takes what was told: of marks their offsets."""
    for number in range(1, 100_000):
        try:
            if kind == "react":
                await people.react(channel, 1, UserId(f"user {number}"))
                answered.append(number)
            elif kind == "record":
                await people.records.record(record(channel, number))
                answered.append(number)
            else:
                answered.append((await people.marks.mark(channel, BOB, number)).mark.offset)
        except MaruError:
            return
        if number > 20:  # the others have begun
            enough.set()


async def test_a_killed_redis_has_all_that_was_answered(tmp_path: Path, channel: ChannelName, now: Clock) -> None:
    """Redis is killed while users react, record and mark: what was answered is there, and each event that was written
    has its place in the indexes."""
    async with RedisProcess(tmp_path / "redis") as redis, people_at(redis, now) as people:
        await people.send(channel, 1, 1)
        done: dict[str, list[int]] = {"react": [], "record": [], "mark": []}
        enough = asyncio.Event()
        async with asyncio.timeout(DEADLINE_S * 3):
            tasks = [asyncio.create_task(work(people, channel, kind, told, enough)) for kind, told in done.items()]
            await enough.wait()
            redis.kill()
            await asyncio.gather(*tasks)
        await redis.start()
        [(_, reacted)] = await people.reacted(channel, 1)
        assert len(done["react"]) <= reacted <= len(done["react"]) + 1
        head = (await people.log.read(channel, 0, 0)).head.offset
        events = (await people.log.read(channel, 0, head)).events
        assert [event.offset for event in events] == list(range(1, head + 1))
        written = (await people.records.page(channel, None, None, None, 10_000)).events
        assert written == [event for event in events if isinstance(event, EventPublished)]
        assert len(done["record"]) <= len(written) <= len(done["record"]) + 1
        assert (await people.counts(channel, BOB))[0] >= max(done["mark"])


# Hints


async def test_hints_tell_all_parts(redis: RedisProcess, people: People, channel: ChannelName) -> None:
    """What the script publishes decodes to the event that the caller is given, with mentions and reactions."""
    seal, topic = Seal(b"secret"), f"hints:{channel}"
    people.log.hint_on(lambda _: topic, seal)
    async with redis.client() as client, client.pubsub() as heard:
        await heard.subscribe(topic)
        events = [
            (await people.log.append(replace(new_message(1, channel), mentions=(BOB, CAROL)))).event,
            (await people.reactions.react(Reaction(channel, some_id(1), "x", BOB, True, NOW_MS))).event,
            (await people.log.append(Revision(channel, some_id(1), "better", None, True, NOW_MS))).event,
            (await people.records.record(record(channel, 1))).event,
        ]
        told: list[Event] = []
        async with asyncio.timeout(DEADLINE_S):
            while len(told) < len(events):
                message = await heard.get_message(ignore_subscribe_messages=True, timeout=1.0)
                if message is not None:
                    told.append(decode_hint(channel, cut_seal(message["data"])[0]))
        assert told == events
    edited = events[2]
    assert edited is not None
    assert (await people.log.read(channel, 0, 10)).events == events


# Retention


async def test_mentions_of_a_user_have_a_bound(people: People, channel: ChannelName) -> None:
    """The last thousand are kept, and a mark takes those that it passes."""
    await people.send(channel, 1, 1_100, BOB)
    assert await people.counts(channel, BOB) == (0, 1_100, 1_000)
    await people.marks.mark(channel, BOB, 1_050)
    assert await people.counts(channel, BOB) == (1_050, 50, 50)
    await people.marks.mark(channel, BOB, 1_100)
    assert await people.counts(channel, BOB) == (1_100, 0, 0)


async def test_trimming_takes_what_belongs_to_the_events(redis: RedisProcess, now: Clock, channel: ChannelName) -> None:
    """Reactions, records and the index of erased events go with the events, by the appends themselves."""
    async with people_at(redis, now, max_events=100) as people:
        for number in range(1, 41):
            await people.send(channel, number, number)
            await people.react(channel, number)
            await people.records.record(record(channel, number))
            if number % 4 == 0:
                await people.log.append(Deletion(channel, some_id(number), NOW_MS))
        await people.send(channel, 100, 300)
        assert await redis.command("HLEN", keys.reacted(channel)) == 0
        assert await redis.command("ZCARD", keys.records(channel)) == 0
        assert await redis.command("ZCARD", keys.erased(channel)) == 0
        assert [name for name in await names_of(redis, channel) if name.startswith("reacted:")] == []
        assert await people.counts(channel, BOB) == (0, 100, 0)


async def test_a_forgotten_channel_leaves_no_key(
    redis: RedisProcess, people: People, channel: ChannelName, now: Clock
) -> None:
    """With its events and keys of messages all else goes, the reactions to many messages in steps."""
    await people.send(channel, 1, 300, BOB)
    for number in range(1, 301):
        await people.react(channel, number)
    await people.records.record(record(channel, 1, "key"))
    await people.marks.mark(channel, BOB, 10)
    now.now += 4 * DAY_MS
    await people.log.sweep.sweep(keys.partition(channel))
    await people.log.sweep.sweep(keys.partition(channel))
    assert await names_of(redis, channel) == []


# Follows


async def test_a_follower_that_is_none_is_found_out(redis: RedisProcess, people: People, channel: ChannelName) -> None:
    """A replica that died between the two sets leaves a user too many, which is corrected when it is read."""
    await people.follows.follow(BOB, channel)
    await redis.command("SADD", keys.followers(channel), CAROL)
    assert await people.follows.followers(channel, 10) == [BOB]
    assert await redis.command("SMEMBERS", keys.followers(channel)) == {b"bob"}


async def test_follows_of_two_devices_agree_in_the_end(redis: RedisProcess, now: Clock, channel: ChannelName) -> None:
    """However following and unfollowing cross, the set of the channel says the same as that of the user."""
    async with people_at(redis, now) as one, people_at(redis, now) as two:
        for _ in range(30):
            await asyncio.gather(one.follows.follow(BOB, channel), two.follows.unfollow(BOB, channel))
            followed = channel in await one.follows.followed(BOB)
            assert (BOB in await two.follows.followers(channel, 10)) == followed
