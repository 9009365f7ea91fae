"""The log in Redis over its life: lost keys, restarts, full memory, wrong clocks, deletions, age and forgetting."""

import asyncio
import time
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
from server.domain.errors import Unavailable
from server.domain.events import Event, MessageEdited, MessageErased
from server.domain.identity import Author, UserId
from server.domain.messages import Tombstone
from tests.doubles.clock import Clock
from tests.doubles.samples import HOUR_MS, NOW_MS, new_message, some_id
from tests.harness.redis import RedisProcess

DAY_MS = 24 * HOUR_MS

MODERATOR = Author(UserId("mod"), "Mod")

_numbers = count(1)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def redis(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RedisProcess]:
    """One Redis for this module. A test that restarts it, or fills it, makes another."""
    async with RedisProcess(tmp_path_factory.mktemp("redis")) as process:
        yield process


@pytest.fixture
def channel() -> ChannelName:
    """A channel that no other test uses."""
    return ChannelName(f"layout:{next(_numbers)}")


@pytest.fixture
def now() -> Clock:
    """The time of Redis, for every log of the test."""
    return Clock()


@asynccontextmanager
async def log_at(redis: RedisProcess, now: Clock, own: Clock | None = None) -> AsyncIterator[RedisMessageLog]:
    """The log of a replica, whose own clock may be another."""
    clocks = Clocks(own or now, now)
    async with RedisMessageLog(redis.url, max_events=10_000, max_age_ms=DAY_MS, clocks=clocks) as log:
        yield log


@pytest.fixture
async def log(redis: RedisProcess, now: Clock) -> AsyncIterator[RedisMessageLog]:
    """The log of one replica."""
    async with log_at(redis, now) as one:
        yield one


async def append_all(log: RedisMessageLog, drafts: Sequence[Draft]) -> list[Event]:
    """Append the drafts, some at once."""
    events: list[Event] = []
    for start in range(0, len(drafts), 100):
        appended = await asyncio.gather(*(log.append(draft) for draft in drafts[start : start + 100]))
        events += [one.event for one in appended]
    return events


async def fill(log: RedisMessageLog, channel: ChannelName, upto: int) -> list[Event]:
    """Append the messages 1 .. upto, each with a key."""
    return await append_all(log, [new_message(number, channel, key=f"k{number}") for number in range(1, upto + 1)])


def edit(channel: ChannelName, number: int, text: str) -> Revision:
    """An edit of the message with this number."""
    return Revision(channel, some_id(number), text, None, keep_data=True, at=NOW_MS + 5)


async def names_of(redis: RedisProcess, channel: ChannelName) -> list[bytes]:
    """The keys of the channel alone."""
    found: list[bytes] = await redis.command("KEYS", f"*:{channel}:*")
    return found


# Keys that are lost


@pytest.mark.parametrize("lost", ["meta", "log", "order", "state", "gone", "sent"])
async def test_a_key_that_is_evicted_is_told(
    redis: RedisProcess, log: RedisMessageLog, channel: ChannelName, now: Clock, lost: str
) -> None:
    """Whichever of a channel's keys Redis drops, the epoch is another, for every replica, and the text of the deleted
    message is nowhere."""
    epoch = (await fill(log, channel, 4))[0].epoch
    await log.append(edit(channel, 1, "better"))
    await log.append(Deletion(channel, some_id(2), NOW_MS))
    for name in await names_of(redis, channel):
        if f":{lost}".encode() in name:
            await redis.command("DEL", name)
    async with log_at(redis, now) as stranger:
        if lost == "sent":  # only a message with a key asks for it
            await stranger.append(new_message(9, channel, key="k9"))
        replay = await stranger.read(channel, 0, 100)
        page = await stranger.history(channel, None, None, 100)
        assert replay.head.epoch != epoch
        assert (await log.read(channel, 0, 0)).head.epoch == replay.head.epoch
    assert "number 2" not in repr((replay, page))
    assert (await log.append(new_message(20, channel))).event.epoch == replay.head.epoch


@pytest.mark.parametrize("lost", ["order", "state"])
async def test_a_lost_index_costs_no_message(
    redis: RedisProcess, log: RedisMessageLog, channel: ChannelName, now: Clock, lost: str
) -> None:
    """The order of the messages and their states are made anew from the log, which has all events."""
    await fill(log, channel, 700)
    await log.append(edit(channel, 1, "better"))
    await log.append(edit(channel, 1, "best"))
    await log.append(edit(channel, 3, "worse"))
    await log.append(Deletion(channel, some_id(2), NOW_MS, MODERATOR))
    await log.append(Deletion(channel, some_id(3), NOW_MS))
    page = await log.history(channel, None, None, 1_000)
    replay = await log.read(channel, 0, 1_000)
    for name in await names_of(redis, channel):
        if f":{lost}".encode() in name:
            await redis.command("DEL", name)
    async with log_at(redis, now) as stranger:
        mended = await stranger.history(channel, None, None, 1_000)
        assert mended.messages == page.messages
        assert mended.head.epoch != page.head.epoch
        again = await stranger.read(channel, 0, 1_000)
        assert [replace(event, epoch="") for event in again.events] == [
            replace(event, epoch="") for event in replay.events
        ]
        edited = (await stranger.append(edit(channel, 1, "better than best"))).event
        assert isinstance(edited, MessageEdited)
        assert edited.message.version == 4
        deleted = await stranger.append(Deletion(channel, some_id(2), NOW_MS + 1))
        assert deleted.duplicate


async def test_the_indexes_of_a_partition_may_be_lost(
    redis: RedisProcess, log: RedisMessageLog, channel: ChannelName
) -> None:
    """Channels with events keep their epochs, and are found again by the sweep."""
    partition = keys.partition(channel)
    epoch = (await fill(log, channel, 2))[0].epoch
    await redis.command("DEL", keys.store(partition), keys.idle(partition))
    assert (await log.read(channel, 0, 0)).head.epoch == epoch
    await log.sweep.sweep(partition)
    assert await redis.command("ZSCORE", keys.idle(partition), channel) is not None


# A Redis that has restarted


async def test_a_restarted_redis_has_to_prove_a_channel(tmp_path: Path, now: Clock) -> None:
    """A replica that has heard of the last event keeps the epoch, for everybody; a stranger gets a new one. A channel
    without events needs no proof."""
    known, unknown, empty = (ChannelName(name) for name in ("known", "unknown", "empty"))
    async with RedisProcess(tmp_path / "redis") as redis:
        async with log_at(redis, now) as writer:
            events = [*await fill(writer, known, 3), *await fill(writer, unknown, 3)]
            kept = (await writer.read(empty, 0, 0)).head.epoch
        async with log_at(redis, now) as hearer, log_at(redis, now) as stranger:
            hearer.note(events[2])
            redis.kill()
            await redis.start()
            assert (await hearer.read(known, 0, 0)).head.epoch == events[0].epoch
            assert (await stranger.read(known, 0, 0)).head.epoch == events[0].epoch
            replay = await stranger.read(unknown, 0, 10)
            assert (len(replay.events), replay.head.epoch == events[3].epoch) == (3, False)
            assert (await stranger.read(unknown, 0, 0)).head == replay.head
            assert (await stranger.read(empty, 0, 0)).head.epoch == kept


async def test_a_reader_of_old_cannot_prove_a_channel(tmp_path: Path, channel: ChannelName, now: Clock) -> None:
    """After a restart, a replica that saw a part of a channel some time ago can't say that its end is there."""
    async with (
        RedisProcess(tmp_path / "redis") as redis,
        log_at(redis, now) as writer,
        log_at(redis, now) as reader,
    ):
        events = await fill(writer, channel, 1)
        await reader.history(channel, None, None, 10)
        await writer.append(new_message(2, channel))
        redis.kill()
        await redis.start()
        replay = await reader.read(channel, 0, 10)
        assert (len(replay.events), replay.head.epoch == events[0].epoch) == (2, False)


async def test_a_host_proves_a_channel_whose_last_hint_it_missed(
    tmp_path: Path, channel: ChannelName, now: Clock
) -> None:
    """A host hears all; the hint of the very last event may have been lost together with Redis."""
    async with RedisProcess(tmp_path / "redis") as redis, log_at(redis, now) as writer, log_at(redis, now) as host:
        events = await fill(writer, channel, 2)
        host.note(events[0])
        redis.kill()
        await redis.start()
        replay = await host.read(channel, 1, 10)
        assert (list(replay.events), replay.head.epoch) == ([events[1]], events[0].epoch)


async def test_a_swept_channel_is_renamed_once(tmp_path: Path, channel: ChannelName, now: Clock) -> None:
    """The sweep finds that events are gone, before anybody asks: all who ask afterwards are told one epoch."""
    async with RedisProcess(tmp_path / "redis") as redis, log_at(redis, now) as log:
        epoch = (await fill(log, channel, 3))[0].epoch
        await redis.command("DEL", keys.order(channel))
        await log.sweep.sweep(keys.partition(channel))
        found = {(await log.read(channel, 0, 0)).head.epoch}
        async with log_at(redis, now) as stranger:
            found.add((await stranger.read(channel, 0, 0)).head.epoch)
        assert len(found - {epoch}) == len(found) == 1


async def test_a_hearer_notices_an_older_redis(tmp_path: Path, channel: ChannelName, now: Clock) -> None:
    """A replica that was only told of the lost events, by their hints, makes the epoch another, also if as many new
    events stand in their place."""
    async with RedisProcess(tmp_path / "redis") as redis, log_at(redis, now) as hearer:
        async with log_at(redis, now) as writer:
            old = await fill(writer, channel, 3)
            redis.save(tmp_path / "moment")
            lost = await append_all(writer, [new_message(number, channel) for number in (4, 5)])
        for event in (*old, *lost):
            hearer.note(event)
        await redis.restore(tmp_path / "moment")
        async with log_at(redis, now) as other:
            other.note(old[-1])
            new = await append_all(other, [new_message(number, channel) for number in (14, 15)])
        assert [event.offset for event in new] == [4, 5]
        assert (await hearer.read(channel, 0, 0)).head.epoch != lost[-1].epoch


# A full Redis


async def test_a_full_redis_is_read_and_gets_room(tmp_path: Path, channel: ChannelName, now: Clock) -> None:
    """Channels with events that are too old, and channels without events, are read while nothing can be written; the
    sweep removes what is too old."""
    async with RedisProcess(tmp_path / "redis") as redis, log_at(redis, now) as log:
        await fill(log, channel, 100)
        await log.sweep.turn()
        now.now += DAY_MS + 1
        await redis.command("CONFIG", "SET", "maxmemory", 1)
        for name in (channel, ChannelName("made:up")):
            assert (await log.read(name, 0, 10)).events == []
            assert (await log.history(name, None, None, 10)).messages == []
        assert (await log.read(channel, 0, 0)).floor == 100
        with pytest.raises(Unavailable):
            await log.append(new_message(200, ChannelName("made:up")))
        await log.sweep.sweep(keys.partition(channel))
        assert await redis.command("EXISTS", keys.log(channel)) == 0
        assert (await log.read(channel, 0, 0)).head.offset == 100
        await redis.command("CONFIG", "SET", "maxmemory", 0)
        assert (await log.append(new_message(200, channel))).event.offset == 101


async def test_a_full_redis_that_has_restarted_is_read_by_strangers(
    tmp_path: Path, channel: ChannelName, now: Clock
) -> None:
    """They are told a new epoch, the same at each read, although it can't be written down."""
    async with RedisProcess(tmp_path / "redis") as redis:
        async with log_at(redis, now) as log:
            epoch = (await fill(log, channel, 3))[0].epoch
        redis.kill()
        await redis.start()
        await redis.command("CONFIG", "SET", "maxmemory", 1)
        async with log_at(redis, now) as one, log_at(redis, now) as other:
            replays = [await one.read(channel, 0, 10), await one.read(channel, 0, 10), await other.read(channel, 0, 10)]
        assert [len(replay.events) for replay in replays] == [3, 3, 3]
        assert {replay.head.epoch == epoch for replay in replays} == {False}
        assert len({replay.head.epoch for replay in replays}) == 1


async def test_a_full_redis_lets_a_message_be_deleted(
    redis: RedisProcess, log: RedisMessageLog, channel: ChannelName
) -> None:
    """Its text goes first, which makes room."""
    await fill(log, channel, 3)
    await redis.command("CONFIG", "SET", "maxmemory", 1)
    try:
        await log.append(Deletion(channel, some_id(1), NOW_MS))
        assert "number 1" not in repr(await log.read(channel, 0, 10))
    finally:
        await redis.command("CONFIG", "SET", "maxmemory", 0)


# Clocks


@pytest.mark.parametrize("days", [-40, 40])
async def test_a_wrong_clock_lets_nothing_age(
    redis: RedisProcess, log: RedisMessageLog, channel: ChannelName, now: Clock, days: int
) -> None:
    """A replica whose clock is days away removes nothing, says so, and does not keep the others from it."""
    events = await fill(log, channel, 3)
    own = Clock()
    own.now += days * DAY_MS
    async with log_at(redis, now, own) as wrong:
        now.now += DAY_MS + 1
        with capture_logs() as lines:
            await wrong.sweep.sweep(keys.partition(channel))
        assert [line["event"] for line in lines] == ["message_log.clocks_disagree"]
        assert wrong.sweep.refusals > 0
        assert list((await wrong.read(channel, 0, 10)).events) == events
        assert (await wrong.append(new_message(4, channel, key="k1"))).duplicate is True
    assert (await log.append(new_message(4, channel, key="k1"))).duplicate is False
    assert (await log.read(channel, 0, 0)).floor == 3
    await log.sweep.sweep(keys.partition(channel))
    assert await redis.command("XLEN", keys.log(channel)) == 1


@pytest.mark.parametrize("silence_ms", [0, 40 * DAY_MS])
async def test_a_clock_that_is_wrong_at_the_start_is_doubted(
    tmp_path: Path, channel: ChannelName, silence_ms: int
) -> None:
    """If nobody seems to have written for very long, nothing ages for an hour, and the log says so."""
    written = Clock()
    written.now = time.time_ns() // 1_000_000 - silence_ms
    async with RedisProcess(tmp_path / "redis") as redis:
        async with log_at(redis, written) as log:
            await fill(log, channel, 3)
        async with RedisMessageLog(redis.url, max_events=10_000, max_age_ms=DAY_MS) as log:
            with capture_logs() as lines:
                sweeping = asyncio.create_task(log.sweep.run())
                async with asyncio.timeout(5):
                    await asyncio.sleep(0)  # it doubts until it has looked
                    while True:
                        if lines or log.sweep.trusted:
                            break
                        await asyncio.sleep(0)
            sweeping.cancel()
            doubted = silence_ms > 0
            assert [line["event"] for line in lines] == ["message_log.clock_doubted"] * doubted
            assert log.sweep.trusted is not doubted
            assert len((await log.read(channel, 0, 10)).events) == 3


async def test_a_wrong_clock_of_redis_ends_no_key(
    redis: RedisProcess, log: RedisMessageLog, channel: ChannelName, now: Clock
) -> None:
    """Neither while it is days ahead nor when it is set right."""
    first = await log.append(new_message(1, channel, key="k"))
    own = Clock()
    async with log_at(redis, now, own) as replica:
        now.now += 40 * DAY_MS
        await replica.sweep.sweep(keys.partition(channel))
        assert await replica.append(new_message(2, channel, key="k")) == Appended(first.event, duplicate=True)
        now.now -= 40 * DAY_MS
        assert await replica.append(new_message(3, channel, key="k")) == Appended(first.event, duplicate=True)


# Deletions


async def test_edits_of_a_deleted_message_stay_erased_when_it_ages(
    redis: RedisProcess, channel: ChannelName, now: Clock
) -> None:
    """The message is dropped before its many edits are removed: no read shows their text meanwhile."""
    async with log_at(redis, now) as log:
        await fill(log, channel, 100)
        await append_all(log, [edit(channel, 100, f"secret {number}") for number in range(450)])
        now.now += HOUR_MS
        await log.append(Deletion(channel, some_id(100), NOW_MS))
        for number in range(4):
            replay = await log.read(channel, 0, 1_000)
            replay = replay if replay.events else await log.read(channel, replay.floor, 1_000)
            assert "secret" not in repr(replay)
            now.now += (DAY_MS - HOUR_MS // 2) * (number == 0)
            await log.append(new_message(200 + number, channel))


async def test_a_message_with_many_edits_is_erased_in_steps(
    redis: RedisProcess, log: RedisMessageLog, channel: ChannelName
) -> None:
    """Every read shows its events as erased from the deletion on; Redis removes them some at a time."""
    await fill(log, channel, 2)
    await append_all(log, [edit(channel, 1, f"secret {number}") for number in range(350)])
    await log.append(Deletion(channel, some_id(1), NOW_MS))
    assert await redis.command("XLEN", keys.log(channel)) > 100
    replay = await log.read(channel, 0, 1_000)
    erased = [event for event in replay.events if isinstance(event, MessageErased)]
    assert [event.offset for event in erased] == [1, *range(3, 353)]
    assert {(event.id, event.created_offset, event.edited) for event in erased[1:]} == {(some_id(1), 1, True)}
    await log.sweep.sweep(keys.partition(channel))
    assert await redis.command("XLEN", keys.log(channel)) == 2
    assert "secret" not in str(await redis.command("XRANGE", keys.log(channel), "-", "+"))
    assert await log.read(channel, 0, 1_000) == replay
    assert isinstance(await log.message(channel, some_id(1)), Tombstone)
    assert (await log.read(channel, 0, 0)).head.epoch == replay.head.epoch


# Idempotency keys


async def test_a_key_is_found_among_thousands(log: RedisMessageLog, channel: ChannelName, now: Clock) -> None:
    """At each density of the hash, in this window of hours and in those before."""
    first = await fill(log, channel, 2_400)
    now.now += 9 * HOUR_MS
    later = await append_all(log, [new_message(number, channel, key=f"k{number}") for number in range(3_001, 3_011)])
    for number, event in ((1, first[0]), (127, first[126]), (128, first[127]), (2_400, first[-1]), (3_005, later[4])):
        again = await log.append(new_message(9_000 + number, channel, key=f"k{number}"))
        assert (again.duplicate, again.event) == (True, event)
    now.now += 15 * HOUR_MS
    assert not (await log.append(new_message(9_999, channel, key="k1"))).duplicate


# Age and forgetting


async def test_a_channel_whose_events_are_gone_is_forgotten(
    redis: RedisProcess, log: RedisMessageLog, channel: ChannelName, now: Clock
) -> None:
    """A day after the last event and the last key no key is left, and the next event has another epoch."""
    partition = keys.partition(channel)
    epoch = (await fill(log, channel, 3))[0].epoch
    now.now += 2 * DAY_MS - HOUR_MS
    await log.sweep.sweep(partition)
    head = (await log.read(channel, 0, 0)).head
    assert (head.epoch, head.offset) == (epoch, 3)
    now.now += 2 * HOUR_MS
    await log.sweep.sweep(partition)
    await log.sweep.sweep(partition)
    assert await names_of(redis, channel) == []
    assert await redis.command("ZSCORE", keys.idle(partition), channel) is None
    assert await redis.command("ZCARD", keys.authors(partition)) == 0
    head = (await log.read(channel, 0, 0)).head
    assert (head.offset, head.epoch == epoch) == (0, False)
    assert (await log.append(new_message(9, channel, key="k1"))).event.epoch == head.epoch


async def test_old_events_go_in_steps(
    redis: RedisProcess, log: RedisMessageLog, channel: ChannelName, now: Clock
) -> None:
    """The floor is exact at once; a step removes some hundred, and what is kept stays."""
    await fill(log, channel, 1_000)
    now.now += 20 * HOUR_MS
    await append_all(log, [new_message(number, channel) for number in range(2_000, 2_010)])
    now.now += 5 * HOUR_MS
    assert (await log.read(channel, 0, 0)).floor == 1_000
    assert await log.tend(channel, 100) == (100, True, True)
    assert await redis.command("XLEN", keys.log(channel)) == 910
    await log.sweep.sweep(keys.partition(channel))
    assert await redis.command("XLEN", keys.log(channel)) == 10
    assert await redis.command("ZCARD", keys.order(channel)) == 10
    assert len((await log.read(channel, 1_000, 100)).events) == 10


async def test_the_channels_of_an_author_are_known(
    redis: RedisProcess, log: RedisMessageLog, channel: ChannelName
) -> None:
    """Each once, and no other author's."""
    for number, user in enumerate(("ann", "ann", "an", "bob")):
        await log.append(new_message(number, channel, user=user))
    index, begin = keys.authors(keys.partition(channel)), keys.author(UserId("ann"))
    found = await redis.command("ZRANGEBYLEX", index, f"[{begin}", f"({begin[:-1]};")
    assert channel in [keys.author_channel(member.decode()) for member in found]
    assert [member.decode() for member in found].count(f"{begin}{channel}") == 1
    assert all(member.startswith(begin.encode()) for member in found)
