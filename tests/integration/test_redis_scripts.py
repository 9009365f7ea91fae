"""The scripts of the Redis log, branch by branch, against a real Redis; the contract suite observes the rest.

channel.lua   a new channel, a lost one; an older Redis: behind, forked, forked at the head, below the floor; channels
              without events; age by one, by many; trimming across a multiple of 64, within one, of everything; an entry
              of an unknown kind
append.lua    a key that is known, dropped, of a lost log; an id that is dropped and not yet removed; an entry that is
              cut out; a damaged state
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from server.adapters.redis import keys
from server.adapters.redis.clocks import Clocks
from server.adapters.redis.message_log import RedisMessageLog
from server.domain.appending import Appended
from server.domain.channels import ChannelName
from server.domain.drafts import Deletion, Draft, Revision
from server.domain.errors import NotFound, Unavailable
from server.domain.events import Event, MessageCreated, MessageEdited
from server.domain.messages import Position, Tombstone
from tests.doubles.clock import Clock
from tests.doubles.newer_version import write_in_redis
from tests.doubles.samples import HOUR_MS, NOW_MS, new_message, some_id
from tests.harness.redis import RedisProcess

DAY_MS = 24 * HOUR_MS

_numbers = count(1)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def redis(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RedisProcess]:
    """One Redis for this module; who restores it makes another."""
    async with RedisProcess(tmp_path_factory.mktemp("redis")) as process:
        yield process


@pytest.fixture
def channel() -> ChannelName:
    """A channel that no other test uses."""
    return ChannelName(f"scripts:{next(_numbers)}")


@pytest.fixture
def now() -> Clock:
    """The time, for every log of the test."""
    return Clock()


@asynccontextmanager
async def logs(
    redis: RedisProcess, now: Clock, number: int, max_events: int = 10_000
) -> AsyncIterator[list[RedisMessageLog]]:
    """The logs of so many replicas."""
    clocks = Clocks(now, now)
    made = [RedisMessageLog(redis.url, max_events=max_events, max_age_ms=DAY_MS, clocks=clocks) for _ in range(number)]
    try:
        yield made
    finally:
        for log in made:
            await log.__aexit__()


@pytest.fixture
async def log(redis: RedisProcess, now: Clock) -> AsyncIterator[RedisMessageLog]:
    """The log of one replica."""
    async with logs(redis, now, 1) as [one]:
        yield one


async def fill(log: RedisMessageLog, channel: ChannelName, first: int, last: int) -> list[Event]:
    """Append the messages with these numbers, each with a key."""
    return await append_all(log, [new_message(number, channel, key=f"k{number}") for number in range(first, last + 1)])


async def append_all(log: RedisMessageLog, drafts: Sequence[Draft]) -> list[Event]:
    """Append the drafts, so many at once that they share round trips and none waits too long."""
    events: list[Event] = []
    for start in range(0, len(drafts), 250):
        appended = await asyncio.gather(*(log.append(draft) for draft in drafts[start : start + 250]))
        events += [one.event for one in appended]
    return events


async def stored(redis: RedisProcess, channel: ChannelName) -> tuple[int, int]:
    """How many events and how many ids Redis really holds."""
    return await redis.command("XLEN", keys.log(channel)), await redis.command("ZCARD", keys.order(channel))


# A log that is lost


async def test_a_lost_stream_is_a_new_epoch(redis: RedisProcess, log: RedisMessageLog, channel: ChannelName) -> None:
    """The state without the stream: empty, offsets from 1, another epoch, no old message, no old key."""
    before = await fill(log, channel, 1, 3)
    await redis.command("DEL", keys.log(channel))
    replay = await log.read(channel, 0, 10)
    assert (replay.head.offset, replay.floor, list(replay.events)) == (0, 0, [])
    assert replay.head.epoch != before[0].epoch
    assert (await log.history(channel, None, None, 10)).messages == []
    assert await log.message(channel, some_id(1)) is None
    again = await log.append(new_message(11, channel, key="k1"))
    assert (again.duplicate, again.event.offset, again.event.epoch) == (False, 1, replay.head.epoch)


async def test_a_lost_state_is_a_new_epoch(redis: RedisProcess, log: RedisMessageLog, channel: ChannelName) -> None:
    """The stream without the state: what it held is removed, the next append is the first."""
    before = await fill(log, channel, 1, 3)
    await redis.command("DEL", keys.meta(channel))
    appended = await log.append(new_message(4, channel))
    assert appended.event.offset == 1
    assert appended.event.epoch != before[0].epoch
    assert await stored(redis, channel) == (1, 1)


async def test_a_key_of_a_lost_log_does_not_count(
    redis: RedisProcess, log: RedisMessageLog, channel: ChannelName, now: Clock
) -> None:
    """Not even where the new log has dropped as many events as the key's offset says."""
    await fill(log, channel, 1, 2)
    await redis.command("DEL", keys.log(channel))
    async with logs(redis, now, 1, max_events=2) as [short]:
        await fill(short, channel, 11, 15)
        assert (await short.read(channel, 0, 0)).floor == 3
        again = await short.append(new_message(21, channel, key="k1"))
        assert (again.duplicate, again.event.offset) == (False, 6)


async def test_two_losses_are_two_epochs(redis: RedisProcess, log: RedisMessageLog, channel: ChannelName) -> None:
    """Each life of a channel has a name of its own."""
    epochs = set()
    for _ in range(3):
        epochs.add((await fill(log, channel, 1, 1))[0].epoch)
        await redis.command("FLUSHALL")
    assert len(epochs) == 3


# A Redis that has come back older


async def test_an_older_redis_is_a_new_epoch_that_keeps_what_is_left(tmp_path: Path, channel: ChannelName) -> None:
    """A replica that saw a later event names the epoch anew; old messages stay, lost ones can be sent again."""
    now = Clock()
    async with RedisProcess(tmp_path / "redis") as redis, logs(redis, now, 2) as [saw, stranger]:
        before = await fill(saw, channel, 1, 3)
        redis.save(tmp_path / "moment")
        await fill(saw, channel, 4, 5)
        await redis.restore(tmp_path / "moment")
        after = (await saw.append(new_message(14, channel))).event
        assert (after.offset, after.epoch == before[0].epoch) == (4, False)
        assert (await stranger.read(channel, 0, 0)).head.epoch == after.epoch
        assert [one.offset for one in (await saw.history(channel, None, None, 10)).messages] == [1, 2, 3, 4]
        kept = await stranger.append(new_message(22, channel, key="k2"))
        lost = await saw.append(new_message(25, channel, key="k5"))
        assert (kept.duplicate, kept.event.offset) == (True, 2)
        assert (lost.duplicate, lost.event.offset) == (False, 5)
        assert kept.event.epoch == lost.event.epoch == after.epoch


async def test_a_fork_is_a_new_epoch(redis: RedisProcess, channel: ChannelName, now: Clock) -> None:
    """Another replica has written on before the one that saw the lost events: at their offsets stand others now."""
    async with logs(redis, now, 3) as [saw, saw_head, other]:
        events = await fill(saw, channel, 1, 5)
        assert (await saw_head.read(channel, 5, 10)).head.offset == 5
        await go_back(redis, channel, events[2])
        fork = await fill(other, channel, 14, 15)
        assert [(one.offset, one.epoch) for one in fork] == [(4, events[0].epoch), (5, events[0].epoch)]
        at_head = (await saw_head.read(channel, 0, 0)).head
        assert (at_head.offset, at_head.epoch == events[0].epoch) == (5, False)
        further = (await saw.append(new_message(16, channel))).event
        assert (further.offset, further.epoch) == (6, at_head.epoch)  # its epoch is over: there is nothing to compare


async def test_a_fork_below_the_head_is_a_new_epoch(redis: RedisProcess, channel: ChannelName, now: Clock) -> None:
    """The seen offset is not the last one any more; its entry tells that it is another."""
    async with logs(redis, now, 2) as [saw, other]:
        events = await fill(saw, channel, 1, 5)
        await go_back(redis, channel, events[2])
        await fill(other, channel, 14, 18)
        assert (await saw.read(channel, 0, 0)).head.epoch != events[0].epoch


async def test_what_is_below_the_floor_is_not_compared(redis: RedisProcess, channel: ChannelName, now: Clock) -> None:
    """A replica that has not looked for long, and saw what is dropped by now, changes nothing."""
    async with logs(redis, now, 2, max_events=3) as [slow, busy]:
        seen = await fill(slow, channel, 1, 2)
        await fill(busy, channel, 3, 9)
        assert (await slow.read(channel, 0, 0)).head.epoch == seen[0].epoch


async def test_an_entry_of_an_unknown_kind_is_compared(redis: RedisProcess, channel: ChannelName, now: Clock) -> None:
    """A replica that saw a newer version's entry finds it there again, at the head and below it: the epoch stays."""
    async with logs(redis, now, 2) as [saw, other]:
        epoch = (await fill(other, channel, 1, 1))[0].epoch
        unknown = await write_in_redis(redis.command, channel, now())
        assert (await saw.read(channel, 0, 10)).head == Position(epoch, unknown.offset)
        assert (await saw.read(channel, 0, 0)).head == Position(epoch, unknown.offset)
        await fill(other, channel, 3, 5)
        assert (await saw.read(channel, 0, 0)).head == Position(epoch, 5)


async def go_back(redis: RedisProcess, channel: ChannelName, last: Event) -> None:
    """Make the channel what it was when `last` had been written."""
    meta = (await redis.command("GET", keys.meta(channel))).decode().split()
    meta[1:3] = str(last.offset), str(last.at)
    for id, _ in await redis.command("XRANGE", keys.log(channel), f"({last.offset}", "+"):
        await redis.command("XDEL", keys.log(channel), id)
    # The last id of a stream survives XDEL, not going back.
    await redis.command("XSETID", keys.log(channel), f"{last.offset}-0")
    await redis.command("ZREMRANGEBYSCORE", keys.order(channel), f"({last.offset}", "+inf")
    meta[9] = str(await redis.command("ZCARD", keys.order(channel)))
    await redis.command("SET", keys.meta(channel), " ".join(meta))


# Empty channels


async def test_a_channel_without_events_has_no_key(
    redis: RedisProcess, log: RedisMessageLog, channel: ChannelName, now: Clock
) -> None:
    """Asking for made-up names writes nothing but the id of their partitions; the first event has the epoch that was
    told before."""
    names = [ChannelName(f"{channel}:{number}") for number in range(1_000)]
    epochs = [(await log.read(name, 0, 10)).head.epoch for name in names]
    await asyncio.gather(*(log.history(name, None, None, 10) for name in names))
    await asyncio.gather(*(log.message(name, some_id(1)) for name in names))
    assert await redis.command("KEYS", f"*{channel}:*") == []
    assert len({*epochs}) == len(names)
    async with logs(redis, now, 1) as [other]:
        assert [(await other.read(name, 0, 0)).head.epoch for name in names] == epochs
    assert (await fill(log, names[0], 1, 1))[0].epoch == epochs[0]


# Age


async def test_events_age_one_by_one_and_all_at_once(log: RedisMessageLog, channel: ChannelName, now: Clock) -> None:
    """Few, many, and thousands at one look: nothing that is too old is to be seen; the head stays."""
    for number in (1, 2, 3):
        await log.append(new_message(number, channel))
        now.now += HOUR_MS
    now.now += DAY_MS - 3 * HOUR_MS + 1
    assert (await log.append(new_message(4, channel))).event.offset == 4
    assert (await log.read(channel, 0, 0)).floor == 1
    now.now += 2 * HOUR_MS
    assert (await log.read(channel, 0, 0)).floor == 3
    await fill(log, channel, 5, 2_100)
    now.now += 2 * DAY_MS
    assert (await log.read(channel, 0, 0)).floor == 2_100
    assert (await log.read(channel, 2_100, 10)).head.offset == 2_100


async def test_what_was_deleted_does_not_come_back_with_age(
    redis: RedisProcess, log: RedisMessageLog, channel: ChannelName, now: Clock
) -> None:
    """However many deletions lie behind: they live longer than what they delete, and that is not seen when too old."""
    drafts = [new_message(number, channel, text="secret") for number in range(1, 1_201)]
    await append_all(log, drafts)
    await append_all(log, [Deletion(channel, draft.id, now.now) for draft in drafts])
    now.now += DAY_MS - HOUR_MS
    assert (await log.append(new_message(2_000, channel))).event.offset == 2_401
    assert {type(item) for item in (await log.history(channel, None, 2_401, 100)).messages} == set()
    assert {type(item) for item in (await log.history(channel, 2_401, None, 100)).messages} == {Tombstone}
    now.now += 2 * HOUR_MS
    assert [message.offset for message in (await log.history(channel, None, None, 100)).messages] == [2_401]


# Trimming


async def test_what_is_dropped_is_removed_some_time_later(
    redis: RedisProcess, channel: ChannelName, now: Clock
) -> None:
    """The floor is exact; Redis removes the events, ids and states below it 64 at a time."""
    async with logs(redis, now, 1, max_events=10) as [log]:
        await fill(log, channel, 1, 10)
        edited = Revision(channel, some_id(2), "new", None, True, NOW_MS)
        await log.append(edited)
        assert (await log.read(channel, 0, 0)).floor == 1
        assert await stored(redis, channel) == (11, 10)
        await fill(log, channel, 12, 73)
        assert await redis.command("HEXISTS", keys.state(channel), some_id(2)) == 1
        assert [await log.message(channel, some_id(number)) for number in (2, 50)] == [None, None]
        assert (await log.read(channel, 62, 10)).events == []
        assert await stored(redis, channel) == (73, 72)
        await fill(log, channel, 74, 74)
        assert (await log.read(channel, 0, 0)).floor == 64
        assert await stored(redis, channel) == (10, 10)
        assert await redis.command("EXISTS", keys.state(channel)) == 0


async def test_where_all_is_dropped_nothing_is_left(
    redis: RedisProcess, log: RedisMessageLog, channel: ChannelName, now: Clock
) -> None:
    """The sweep removes the texts of a silent channel; its head stays."""
    await fill(log, channel, 1, 5)
    now.now += DAY_MS + 1
    assert (await log.read(channel, 0, 0)).floor == 5
    assert await stored(redis, channel) == (5, 5)
    await log.sweep.sweep(keys.partition(channel))
    assert await stored(redis, channel) == (0, 0)
    assert (await log.append(new_message(6, channel))).event.offset == 6


async def test_a_slice_without_creations_is_dropped(redis: RedisProcess, channel: ChannelName, now: Clock) -> None:
    """Edits alone leave the stream, and there is no id to remove."""
    async with logs(redis, now, 1, max_events=10) as [log]:
        await log.append(new_message(1, channel))
        for number in range(2, 75):
            try:
                await log.append(Revision(channel, some_id(1), f"edit {number}", None, True, NOW_MS))
            except NotFound:
                await log.append(new_message(number, channel))
                await log.append(Revision(channel, some_id(number), "edited", None, True, NOW_MS))
        replay = await log.read(channel, 0, 0)
        assert len((await log.read(channel, replay.floor, 100)).events) == 10


async def test_a_dropped_id_may_come_again(redis: RedisProcess, channel: ChannelName, now: Clock) -> None:
    """Before Redis has removed it: it is a new message, without the edits of the first."""
    async with logs(redis, now, 1, max_events=3) as [log]:
        await fill(log, channel, 1, 1)
        await log.append(Deletion(channel, some_id(1), NOW_MS))
        await fill(log, channel, 3, 5)
        appended = await log.append(new_message(1, channel))
        assert isinstance(appended.event, MessageCreated)
        assert await log.message(channel, some_id(1)) == appended.event.message


async def test_an_entry_that_somebody_cut_out_is_noticed(
    redis: RedisProcess, log: RedisMessageLog, channel: ChannelName
) -> None:
    """The channel begins anew, in another epoch: it can't be said any more what was in it."""
    epoch = (await fill(log, channel, 1, 3))[0].epoch
    await redis.command("XDEL", keys.log(channel), "2-0")
    head = (await log.read(channel, 0, 0)).head
    assert (head.offset, head.epoch == epoch) == (0, False)


async def test_an_edit_keeps_the_data_of_the_edit_before(log: RedisMessageLog, channel: ChannelName) -> None:
    """Kept from the creation, replaced, kept from the replacement, removed, and kept removed."""
    await log.append(replace(new_message(1, channel), data={"v": 1}))
    plan = [
        (True, None, {"v": 1}),
        (False, {"v": 2}, {"v": 2}),
        (True, None, {"v": 2}),
        (False, None, None),
        (True, None, None),
    ]
    for keep, given, expected in plan:
        appended = await log.append(Revision(channel, some_id(1), "new", given, keep, NOW_MS))
        assert isinstance(appended.event, MessageEdited)
        assert appended.event.message.data == expected
        assert await log.message(channel, some_id(1)) == appended.event.message


# Damage


@pytest.mark.parametrize("entry", ["nonsense", "c 7 7 cut off", "r 7"])
async def test_a_damaged_entry_is_unavailable(
    redis: RedisProcess, log: RedisMessageLog, channel: ChannelName, entry: str
) -> None:
    """It is no deletion and no unknown kind. What stands before it can be read, and it is logged once."""
    await fill(log, channel, 1, 2)
    await write_in_redis(redis.command, channel, 7, entry)
    with capture_logs() as lines:
        for _ in range(2):
            with pytest.raises(Unavailable, match="can't be read"):
                await log.read(channel, 0, 10)
    assert [(line["event"], line["channel"]) for line in lines] == [("message_log.unreadable", channel)]
    assert len((await log.read(channel, 0, 2)).events) == 2
    assert len((await log.history(channel, None, None, 10)).messages) == 2


async def test_a_damaged_state_is_unavailable(redis: RedisProcess, log: RedisMessageLog, channel: ChannelName) -> None:
    """A state that is cut off, or of a kind that this version does not know, is neither shown nor edited; the message
    can be deleted."""
    await fill(log, channel, 1, 2)
    edit = Revision(channel, some_id(1), "better", None, keep_data=True, at=NOW_MS)
    await log.append(edit)
    for state in ("e 7 7", "r 7 7 1 7 2 2 5 0 0 [1,2]text"):
        await redis.command("HSET", keys.state(channel), some_id(1), state)
        for asked in (log.message(channel, some_id(1)), log.history(channel, None, None, 10), log.append(edit)):
            with pytest.raises(Unavailable):
                await asked
        assert (await log.read(channel, 0, 0)).head.offset == 3
    deletion = await log.append(Deletion(channel, some_id(1), at=NOW_MS))
    assert await log.message(channel, some_id(1)) == Tombstone(some_id(1), channel, 1)
    assert await log.append(Deletion(channel, some_id(1), at=NOW_MS)) == Appended(deletion.event, duplicate=True)


# Scripts


async def test_forgotten_scripts_are_sent_again_in_order(
    redis: RedisProcess, log: RedisMessageLog, channel: ChannelName
) -> None:
    """SCRIPT FLUSH, several times, in the middle of 600 appends: each is written once, in the order of the calls."""
    sending = [asyncio.ensure_future(log.append(new_message(number, channel))) for number in range(1, 601)]
    for answered in range(50, 600, 120):
        await sending[answered]
        await redis.command("SCRIPT", "FLUSH", "SYNC")
    assert [one.event.offset for one in await asyncio.gather(*sending)] == list(range(1, 601))
