"""Drafts of a turn in one call of the script: their outcomes, their order under faults, and the hints of the script."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import pytest
import pytest_asyncio

from server.adapters.redis import keys
from server.adapters.redis.appends import CALL_BYTES, CALL_LIMIT
from server.adapters.redis.broadcast import RedisBroadcast
from server.adapters.redis.bus import RedisBus
from server.adapters.redis.clocks import Clocks
from server.adapters.redis.message_log import RedisMessageLog
from server.adapters.redis.queue import WAITING_LIMIT
from server.domain.appending import Appended
from server.domain.channels import ChannelName
from server.domain.drafts import Deletion, Draft, NewMessage, Revision, Sender
from server.domain.errors import Conflict, NotFound, Overloaded, RateLimited, Unavailable
from server.domain.events import MessageCreated, MessageEdited, MessageErased
from server.domain.gcra import Rate
from server.ports.broadcast import LinkRestored
from tests.doubles.clock import Clock
from tests.doubles.newer_version import write_in_redis
from tests.doubles.samples import HOUR_MS, NOW_MS, new_message, some_id
from tests.harness.proxy import Proxy, Relay
from tests.harness.redis import RedisProcess
from tests.harness.seal import SEAL

DEADLINE_S = 10.0
_numbers = count(1)

Outcome = Appended | Exception


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def redis(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RedisProcess]:
    """One Redis for this module. A test that harms it makes another."""
    async with RedisProcess(tmp_path_factory.mktemp("redis")) as process:
        yield process


@pytest.fixture
def channel() -> ChannelName:
    """A channel that no other test uses."""
    return ChannelName(f"appends:{next(_numbers)}")


@pytest.fixture
async def log(redis: RedisProcess) -> AsyncIterator[RedisMessageLog]:
    """The log of a replica, connected."""
    async with log_at(redis.url) as opened:
        yield opened


def log_at(url: str, **how: Any) -> RedisMessageLog:
    """A log that keeps everything."""
    return RedisMessageLog(url, max_events=100_000, max_age_ms=1_000_000 * HOUR_MS, **how)


class Sent:
    """Drafts that were given to a log in one turn, and what became of them."""

    def __init__(self, log: RedisMessageLog, drafts: Sequence[Draft], senders: Sequence[Sender] | None = None) -> None:
        self.outcomes: list[Outcome | None] = [None] * len(drafts)
        self._left, self._all = len(drafts), asyncio.Event()
        one = Sender()
        for index, draft in enumerate(drafts):
            log.submit(draft, senders[index] if senders else one, partial(self._take, index))

    def _take(self, index: int, outcome: Outcome) -> None:
        assert self.outcomes[index] is None, "told twice"
        self.outcomes[index] = outcome
        self._left -= 1
        if not self._left:
            self._all.set()

    async def all(self) -> list[Any]:
        """The outcomes, in the order of the drafts."""
        async with asyncio.timeout(DEADLINE_S):
            await self._all.wait()
        return list(self.outcomes)


async def submitted(
    log: RedisMessageLog, drafts: Sequence[Draft], senders: Sequence[Sender] | None = None
) -> list[Any]:
    """Give the log drafts in one turn; by default, all are of one sender."""
    return await Sent(log, drafts, senders).all()


def edit(channel: ChannelName, number: int, text: str = "edited") -> Revision:
    """An edit of the message with this number."""
    return Revision(channel, some_id(number), text, None, keep_data=True, at=NOW_MS + 5)


async def calls_of(redis: RedisProcess) -> int:
    """How many scripts Redis has run."""
    stats: dict[str, Any] = await redis.command("INFO", "commandstats")
    return int(stats.get("cmdstat_evalsha", {"calls": 0})["calls"])


# Outcomes


async def test_each_draft_of_a_call_has_its_outcome(
    redis: RedisProcess, log: RedisMessageLog, channel: ChannelName
) -> None:
    """Drafts of all kinds, some refused, one call: the offsets are dense, and each answer is its draft's."""
    one = Sender()
    await log.append(new_message(0, channel))
    before = await calls_of(redis)
    drafts: list[Draft] = [
        new_message(1, channel, key="k"),
        edit(channel, 99),
        new_message(2, channel),
        edit(channel, 1),
        Deletion(channel, some_id(2), NOW_MS),
        edit(channel, 2),
        Deletion(channel, some_id(2), NOW_MS + 1),
        new_message(3, channel, key="k"),
        new_message(1, channel),
        new_message(4, channel),
        new_message(5, channel, key="k2"),
        new_message(6, channel, key="k2"),
        new_message(7, channel),
        new_message(7, channel, text="the same id"),
        Deletion(channel, some_id(98), NOW_MS),
        new_message(8, channel),
    ]
    outcomes = await submitted(log, drafts, [one] * len(drafts))
    assert await calls_of(redis) == before + 1
    assert [outcome.event.offset if isinstance(outcome, Appended) else type(outcome) for outcome in outcomes] == (
        [2, NotFound, 3, 4, 5, Conflict, 5, 2, Conflict, 6, 7, 7, 8, Conflict, NotFound, 9]
    )
    duplicates = [index for index, outcome in enumerate(outcomes) if getattr(outcome, "duplicate", False)]
    assert duplicates == [6, 7, 11]
    assert (outcomes[6].event, outcomes[7].event, outcomes[11].event) == tuple(outcomes[i].event for i in (4, 0, 10))
    assert not one.failed
    replay = await log.read(channel, 0, 20)
    assert [event.offset for event in replay.events] == list(range(1, 10))
    assert isinstance(replay.events[2], MessageErased)
    assert list(replay.events[3:]) == [outcomes[i].event for i in (3, 4, 9, 10, 12, 15)]
    page = await log.history(channel, None, None, 20)
    assert [message.offset for message in page.messages] == [1, 2, 3, 6, 7, 8, 9]
    assert (await log.append(edit(channel, 7))).event.offset == 10


async def test_keys_of_a_call_are_found_by_later_calls(log: RedisMessageLog, channel: ChannelName) -> None:
    """300 keys that share calls, over the number from which they are kept in finer parts: each is a duplicate later."""
    drafts = [new_message(number, channel, key=f"k{number}") for number in range(300)]
    first = await submitted(log, drafts)
    again = await submitted(log, [replace(draft, id=some_id(1_000 + at)) for at, draft in enumerate(drafts)])
    assert [each.event for each in again] == [each.event for each in first]
    assert {each.duplicate for each in again} == {True}
    assert (await log.read(channel, 0, 0)).head.offset == 300


async def test_a_call_is_bounded(redis: RedisProcess, log: RedisMessageLog, channel: ChannelName) -> None:
    """By its drafts, and by their bytes; what has no room comes next, in order."""
    await log.append(new_message(0, channel))
    before = await calls_of(redis)
    one = Sender()
    drafts = [new_message(number, channel) for number in range(1, 2 * CALL_LIMIT + 2)]
    outcomes = await submitted(log, drafts, [one] * len(drafts))
    assert [each.event.message.id for each in outcomes] == [draft.id for draft in drafts]
    assert [each.event.offset for each in outcomes] == list(range(2, 2 * CALL_LIMIT + 3))
    assert await calls_of(redis) == before + 3
    large = [new_message(500 + number, channel, text="x" * (CALL_BYTES // 4)) for number in range(9)]
    outcomes = await submitted(log, large, [one] * len(large))
    assert [each.event.offset for each in outcomes] == list(range(2 * CALL_LIMIT + 3, 2 * CALL_LIMIT + 12))
    assert await calls_of(redis) == before + 6


async def test_a_refused_change_leaves_an_aged_channel_as_it_is(redis: RedisProcess, channel: ChannelName) -> None:
    """Nothing is written where all events are too old, so nothing is removed, and the epoch stays."""
    now = Clock()
    async with RedisMessageLog(
        redis.url, max_events=1_000, max_age_ms=HOUR_MS, clocks=Clocks(own=now, store=now)
    ) as log:
        epoch = (await log.append(new_message(1, channel))).event.epoch
        now.now += 2 * HOUR_MS
        for draft in (edit(channel, 1), Deletion(channel, some_id(1), NOW_MS)):
            assert [type(outcome) for outcome in await submitted(log, [draft])] == [NotFound]
        assert (await log.read(channel, 0, 0)).head.epoch == epoch
        assert (await log.append(new_message(2, channel))).event.offset == 2


# Hints of the script


class Hearing:
    """Another replica that hears the channel."""

    def __init__(self, bus: RedisBus) -> None:
        self.bus, self.broadcast = bus, RedisBroadcast(bus, SEAL)
        self._hints = self.broadcast.listen()

    async def next(self) -> Any:
        """The next hint at an event."""
        async with asyncio.timeout(DEADLINE_S):
            while isinstance(hint := await anext(self._hints), LinkRestored):
                pass
            return hint


@asynccontextmanager
async def hearing(redis: RedisProcess, channel: ChannelName) -> AsyncIterator[Hearing]:
    """A replica that has subscribed the channel."""
    bus = RedisBus(redis.url)
    running = asyncio.create_task(bus.run())
    try:
        async with asyncio.timeout(DEADLINE_S):
            await bus.linked.wait()
            hears = Hearing(bus)
            await hears.broadcast.subscribe(channel)
        yield hears
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await bus.aclose()


async def test_the_script_hints_at_what_it_writes(
    redis: RedisProcess, log: RedisMessageLog, channel: ChannelName
) -> None:
    """Each event, and each that was there before, reaches every replica that hears, in order; refusals do not."""
    async with hearing(redis, channel) as own, hearing(redis, channel) as other:
        log.hint_on(own.bus.topic, SEAL)
        drafts: list[Draft] = [
            replace(new_message(1, channel, key="k", text="two words\n마루 🙂"), data={"a": [1]}, reply_to=some_id(9)),
            edit(channel, 99),
            edit(channel, 1),
            new_message(2, channel, key="k"),
            new_message(3, channel),
            Deletion(channel, some_id(1), NOW_MS),
            Deletion(channel, some_id(1), NOW_MS),
            new_message(4, channel, key="k"),
        ]
        outcomes = await submitted(log, drafts)
        events = [outcome.event for outcome in outcomes if isinstance(outcome, Appended)]
        assert {outcome.hinted for outcome in outcomes if isinstance(outcome, Appended)} == {True}
        for replica in (own, other):
            assert [await replica.next() for _ in events] == events
        assert isinstance(events[-1], MessageErased)


async def test_without_a_topic_the_script_publishes_nothing(
    redis: RedisProcess, log: RedisMessageLog, channel: ChannelName
) -> None:
    """So a log beside another broadcast does not hint, and says so; nor does a log whose writes wait for replicas."""
    async with hearing(redis, channel) as replica, log_at(redis.url, wait_replicas=1) as waiting:
        waiting.hint_on(replica.bus.topic, SEAL)
        written = await log.append(new_message(1, channel))
        with pytest.raises(Unavailable):
            await waiting.append(new_message(2, channel))
        assert not written.hinted
        await replica.broadcast.publish((marker := await log.append(new_message(3, channel))).event)
        assert await replica.next() == marker.event


# Refusals, and the drafts behind them


async def test_behind_an_outage_nothing_of_the_sender_is_written(tmp_path: Path, channel: ChannelName) -> None:
    """Redis hangs: all that the sender has under way is refused, and so is what it submits later, even if Redis is
    there again; another sender goes on."""
    failed, other = Sender(), Sender()
    async with RedisProcess(tmp_path / "redis") as redis, log_at(redis.url) as log:
        await log.append(new_message(0, channel))
        redis.freeze()
        sent = Sent(log, [new_message(number, channel) for number in range(1, 200)], [failed] * 199)
        outcomes = await sent.all()
        redis.thaw()
        assert {type(outcome) for outcome in outcomes} == {Unavailable}
        assert failed.failed
        head = (await log.append(new_message(500, channel))).event.offset
        late = new_message(501, channel)
        assert [type(each) for each in await submitted(log, [late], [failed])] == [Unavailable]
        assert await log.message(channel, late.id) is None
        [written] = await submitted(log, [new_message(502, channel)], [other])
        assert written.event.offset == head + 1
        events = (await log.read(channel, 0, 1_000)).events
        kept = [event.message.id for event in events if isinstance(event, MessageCreated)]
        assert kept[1:-2] == [some_id(number) for number in range(1, len(kept) - 2)]


async def test_over_the_bound_of_the_queue_the_sender_has_failed(tmp_path: Path, channel: ChannelName) -> None:
    """Its draft is refused at once, and so are those behind it."""
    async with RedisProcess(tmp_path / "redis") as redis, log_at(redis.url) as log:
        await log.append(new_message(0, channel))
        redis.freeze()
        one = Sender()
        sent = Sent(log, [new_message(0, channel)] * (WAITING_LIMIT + 2), [one] * (WAITING_LIMIT + 2))
        assert isinstance(sent.outcomes[WAITING_LIMIT], Overloaded)
        assert isinstance(sent.outcomes[WAITING_LIMIT + 1], Unavailable)
        assert one.failed
        await sent.all()
        redis.thaw()


async def test_a_refusal_within_a_call_concerns_its_sender(
    redis: RedisProcess, log: RedisMessageLog, channel: ChannelName
) -> None:
    """An edit of a damaged message fails. What its sender has behind it is not written, the others' drafts are."""
    await submitted(log, [new_message(1, channel), new_message(2, channel), edit(channel, 1)])
    await redis.command("HSET", keys.state(channel), some_id(1), "e 7 7")
    same, good = Sender(), Sender()
    drafts: list[Draft] = [
        new_message(3, channel),
        edit(channel, 1),
        new_message(4, channel),
        new_message(5, channel),
        edit(channel, 2),
        Deletion(channel, some_id(2), NOW_MS),
    ]
    outcomes = await Sent(log, drafts, [good, same, good, same, same, good]).all()
    assert [each.event.offset if isinstance(each, Appended) else type(each) for each in outcomes] == (
        [4, Unavailable, 5, Unavailable, Unavailable, 6]
    )
    assert (same.failed, good.failed) == (True, False)
    assert await log.message(channel, some_id(5)) is None
    assert (await log.read(channel, 0, 0)).head.offset == 6


async def test_a_full_redis_lets_messages_be_deleted_beside_others(tmp_path: Path, channel: ChannelName) -> None:
    """A message that has no room is refused, a deletion in the same call is not, unless it is of the same sender."""
    async with RedisProcess(tmp_path / "redis") as redis, log_at(redis.url) as log:
        await submitted(log, [new_message(number, channel, key=f"k{number}") for number in (1, 2)])
        await redis.command("CONFIG", "SET", "maxmemory", 1)
        one, two = Sender(), Sender()
        drafts: list[Draft] = [
            new_message(3, channel),
            new_message(9, channel, key="k1"),
            Deletion(channel, some_id(1), NOW_MS),
            Deletion(channel, some_id(2), NOW_MS),
        ]
        outcomes = await submitted(log, drafts, [one, two, one, two])
        assert [type(outcome) for outcome in outcomes] == [Unavailable, Appended, Unavailable, Appended]
        assert "OOM" in str(outcomes[0])
        assert (one.failed, two.failed) == (True, False)
        await redis.command("CONFIG", "SET", "maxmemory", 0)
        assert (await log.read(channel, 0, 0)).head.offset == outcomes[3].event.offset == 3
        assert (await log.append(new_message(4, channel))).event.offset == 4


async def test_a_damaged_message_can_not_be_deleted_and_costs_no_other(
    redis: RedisProcess, log: RedisMessageLog, channel: ChannelName
) -> None:
    """The deletion is refused before anything is removed: the channel keeps its epoch and its events."""
    epoch = (await log.append(new_message(1, channel))).event.epoch
    damaged = await write_in_redis(redis.command, channel, 7, "c 7 7")
    await redis.command("ZADD", keys.order(channel), damaged.offset, some_id(2))
    meta = (await redis.command("GET", keys.meta(channel))).decode().split()
    meta[9] = "2"
    await redis.command("SET", keys.meta(channel), " ".join(meta))
    [outcome] = await submitted(log, [Deletion(channel, some_id(2), NOW_MS)])
    assert isinstance(outcome, Unavailable)
    appended = await log.append(new_message(3, channel))
    assert (appended.event.offset, appended.event.epoch) == (3, epoch)


# Order under faults


@dataclass
class Client:
    """Sends messages by key, up to `window` under way. After a refusal it waits for all answers, and goes on as a new
    sender with the first message that is not acked."""

    name: str
    channels: Sequence[ChannelName]
    messages: int
    window: int

    async def run(self, log: RedisMessageLog) -> None:
        """Send until everything is acked."""
        drafts = [self._draft(number) for number in range(self.messages)]
        while drafts:
            sender, now = Sender(), drafts[: self.window]
            outcomes = await submitted(log, now, [sender] * len(now))
            assert sender.failed == any(isinstance(outcome, Exception) for outcome in outcomes)
            drafts = [draft for draft, each in zip(now, outcomes, strict=True) if isinstance(each, Exception)]
            drafts += self._draft_range(now, outcomes, self.messages)

    def _draft_range(self, now: list[NewMessage], outcomes: list[Any], upto: int) -> list[NewMessage]:
        last = max(int(draft.key.split("-")[1]) for draft in now if draft.key)
        return [self._draft(number) for number in range(last + 1, upto)]

    def _draft(self, number: int) -> NewMessage:
        channel = self.channels[number * number % len(self.channels)]
        text = f"{self.name}-{number}"
        return new_message(next(_numbers) + 10_000, channel, key=text, text=text, user=self.name)


async def in_order(log: RedisMessageLog, clients: Sequence[Client], channels: Sequence[ChannelName]) -> None:
    """Each message stands in its channel once, and those of a client in the order in which it sent them."""
    for channel in channels:
        events = (await log.read(channel, 0, 10_000)).events
        texts = [event.message.text for event in events if isinstance(event, MessageCreated | MessageEdited)]
        for client in clients:
            expected = [
                f"{client.name}-{number}"
                for number in range(client.messages)
                if client.channels[number * number % len(client.channels)] == channel
            ]
            assert [text for text in texts if text.startswith(f"{client.name}-")] == expected


class Cutting(Relay):
    """A connection that is cut once so many bytes have passed, in the middle of a batch or of its answers."""

    def __init__(self, random: Random) -> None:
        self._left = random.randrange(2_000, 150_000)  # more than the batch of all clients, or none would get on

    def from_client(self, chunk: bytes) -> bytes:
        return self._pass(chunk)

    def from_server(self, chunk: bytes) -> bytes:
        return self._pass(chunk)

    def _pass(self, chunk: bytes) -> bytes:
        self._left -= len(chunk)
        if self._left < 0:
            raise ConnectionResetError("the line is cut")
        return chunk


@pytest.mark.parametrize("seed", range(3))
async def test_a_client_that_repeats_inverts_nothing(redis: RedisProcess, channel: ChannelName, seed: int) -> None:
    """However often the connections to Redis are cut in the middle of a batch."""
    random = Random(seed)
    channels = [ChannelName(f"{channel}:{number}") for number in range(3)]
    clients = [Client(f"c{number}", channels, 600, 1 + 16 * number) for number in range(6)]
    async with Proxy(redis.port, lambda: Cutting(random)) as proxy, log_at(f"redis://127.0.0.1:{proxy.port}/0") as cut:
        async with asyncio.timeout(6 * DEADLINE_S):
            await asyncio.gather(*(client.run(cut) for client in clients))
    async with log_at(redis.url) as log:
        await in_order(log, clients, channels)


async def test_a_client_that_repeats_inverts_nothing_while_redis_dies(tmp_path: Path, channel: ChannelName) -> None:
    """Redis is killed and frozen under load, several times."""
    channels = [ChannelName(f"{channel}:{number}") for number in range(3)]
    clients = [Client(f"c{number}", channels, 300, 8 + 16 * number) for number in range(6)]
    async with RedisProcess(tmp_path / "redis") as redis, log_at(redis.url) as log:
        sending = [asyncio.create_task(client.run(log)) for client in clients]
        for _ in range(2):
            before = await calls_of(redis)
            async with asyncio.timeout(DEADLINE_S):
                while await calls_of(redis) < before + 20 and not all(task.done() for task in sending):
                    pass  # asking Redis is the pause
            redis.kill()
            await redis.start()
        redis.freeze()
        frozen = Sent(log, [new_message(1, ChannelName(f"{channel}:other"))])
        await frozen.all()
        redis.thaw()
        async with asyncio.timeout(6 * DEADLINE_S):
            await asyncio.gather(*sending)
        await in_order(log, clients, channels)


async def test_what_stands_before_an_overflow_is_written(redis: RedisProcess, channel: ChannelName) -> None:
    """Too many drafts refuse the last of a client, and all behind it, and none that waits already."""
    async with log_at(redis.url) as log:
        await log.append(new_message(0, channel))
        mine, strangers = Sender(), Sender()
        redis.freeze()
        first = Sent(log, [new_message(number, channel) for number in range(1, 11)], [mine] * 10)
        others = [new_message(100 + number, channel) for number in range(WAITING_LIMIT)]
        Sent(log, others, [strangers] * len(others))
        last = Sent(log, [new_message(20, channel), new_message(21, channel)], [mine] * 2)
        refused = await last.all()
        redis.thaw()
        assert [type(each) for each in refused] == [Overloaded, Unavailable]
        assert [each.event.offset for each in await first.all()] == list(range(2, 12))


async def test_replicas_share_the_rate_of_a_channel(redis: RedisProcess, channel: ChannelName) -> None:
    """Two replicas with a rate write as much as a single one. A replica without, as of an earlier version, writes to
    the same channel, and is not refused. A bucket that is full again leaves no key."""
    clocks = Clocks(store=lambda: NOW_MS)
    async with (
        log_at(redis.url, rate=Rate(1.0, 6), clocks=clocks) as one,
        log_at(redis.url, rate=Rate(1.0, 6), clocks=clocks) as other,
        log_at(redis.url, clocks=clocks) as without,
    ):
        outcomes: list[type] = []
        for number in range(10):
            try:
                outcomes.append(type(await (one, other)[number % 2].append(new_message(number, channel))))
            except RateLimited as refused:
                outcomes.append(type(refused))
        assert outcomes == [Appended] * 6 + [RateLimited] * 4
        assert (await without.append(new_message(20, channel))).event.offset == 7
        ttl_ms = await redis.command("PTTL", keys.rate(channel))
        assert 5_000 < ttl_ms <= 6_001
