"""Debts in Redis beyond the contract: losses, a full Redis, damaged keys, many channels, forgotten endpoints."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest
import pytest_asyncio

from server.adapters.redis import keys
from server.adapters.redis.message_log import RedisMessageLog
from server.adapters.redis.webhooks import RedisWebhooks
from server.domain.channels import ChannelName
from server.domain.dispatching import DeadLetter, Debt
from server.domain.drafts import Deletion
from server.domain.errors import Unavailable
from server.domain.messages import Position
from server.domain.replicas import ReplicaId
from tests.doubles.samples import NOW_MS, new_message, some_id
from tests.harness.redis import RedisProcess

CRM = "crm"
YEARS_MS = 10**12
DEADLINE_S = 20.0

_numbers = count(1)


@dataclass
class Owing:
    """A replica's log and its debts, under a prefix."""

    log: RedisMessageLog
    webhooks: RedisWebhooks
    prefix: str

    async def send(self, channel: ChannelName, *numbers: int) -> Position:
        """Append messages; return the last position."""
        appended = await asyncio.gather(*(self.log.append(new_message(number, channel)) for number in numbers))
        return Position(appended[-1].event.epoch, appended[-1].event.offset)

    async def debts(self, endpoint: str = CRM) -> list[Debt]:
        """Read all pages."""
        debts, after = list[Debt](), None
        while True:
            page, after = await self.webhooks.debts(endpoint, after, 100)
            debts += page
            if after is None:
                return debts


@asynccontextmanager
async def replica(redis: RedisProcess, prefix: str) -> AsyncIterator[Owing]:
    """Connect a replica."""
    async with RedisMessageLog(redis.url, max_events=10_000, max_age_ms=YEARS_MS, prefix=prefix) as log:
        webhooks = RedisWebhooks(log, redis.url, prefix=prefix)
        try:
            yield Owing(log, webhooks, prefix)
        finally:
            await webhooks.aclose()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def redis(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RedisProcess]:
    """One Redis for this module; a test that restarts it makes another."""
    async with RedisProcess(tmp_path_factory.mktemp("redis")) as process:
        yield process


@pytest.fixture
def prefix() -> str:
    """A part of Redis that no other test uses."""
    return f"webhooks-{next(_numbers)}:"


@pytest.fixture
async def owing(redis: RedisProcess, prefix: str) -> AsyncIterator[Owing]:
    """One replica."""
    async with replica(redis, prefix) as one:
        yield one


@pytest.fixture
def channel() -> ChannelName:
    """A channel that no other test uses."""
    return ChannelName(f"room:{next(_numbers)}")


# Losses


async def test_an_older_redis_owes_a_gap_and_what_it_still_has(tmp_path: Path, channel: ChannelName) -> None:
    """A Redis that has come back without the last events: they are a gap; those that it has and that were not
    delivered are not skipped, and none before is repeated."""
    async with RedisProcess(tmp_path) as redis, replica(redis, "older:") as owing:
        await owing.webhooks.open(CRM)
        middle = await owing.send(channel, 1, 2)
        [debt] = await owing.debts()
        assert await owing.webhooks.deliver(CRM, channel, debt.delivered, Position(middle.epoch, 1))
        redis.save(tmp_path / "moment")
        await owing.send(channel, 3, 4)
        await redis.restore(tmp_path / "moment")
        head = (await owing.log.read(channel, 0, 0)).head
        assert (head.epoch != middle.epoch, head.offset) == (True, 2)
        [debt] = await owing.debts()
        assert debt == Debt(channel, Position(middle.epoch, 1))
        assert debt.place(head) == Position(head.epoch, 1)
        head = await owing.send(channel, 5)
        [debt] = await owing.debts()
        assert debt == Debt(channel, Position(middle.epoch, 1), Position(head.epoch, 1))
        assert await owing.webhooks.deliver(CRM, channel, debt.delivered, debt.place(head))
        assert await owing.webhooks.deliver(CRM, channel, debt.place(head), head)
        assert await owing.debts() == []


async def test_a_clean_channel_of_an_older_redis_owes_a_gap(tmp_path: Path, channel: ChannelName) -> None:
    """Also if nothing was owed at the moment to which it went back: the endpoint has to hear that events are lost."""
    async with RedisProcess(tmp_path) as redis, replica(redis, "older:") as owing:
        await owing.webhooks.open(CRM)
        head = await owing.send(channel, 1)
        assert await owing.webhooks.deliver(CRM, channel, Position(head.epoch, 0), head)
        redis.save(tmp_path / "moment")
        await owing.send(channel, 2)
        await redis.restore(tmp_path / "moment")
        assert await owing.debts() == []
        new = await owing.send(channel, 3)
        assert new.epoch != head.epoch
        assert await owing.debts() == [Debt(channel, head, Position(new.epoch, 1))]


async def test_a_lost_store_gets_its_endpoints_back(redis: RedisProcess, owing: Owing, channel: ChannelName) -> None:
    """By the next call of `open`, which says that they are new."""
    await owing.webhooks.open(CRM)
    for partition in keys.PARTITIONS[:128]:
        await redis.command("DEL", keys.store(partition, owing.prefix))
    assert await owing.webhooks.open(CRM)
    assert not await owing.webhooks.open(CRM)
    await owing.send(channel, 1)
    assert [debt.channel for debt in await owing.debts()] == [channel]


# Faults


async def test_a_full_redis_pays_and_owes(tmp_path: Path, channel: ChannelName) -> None:
    """Nothing is written without its debt; debts are moved, deletions are owed, and a leader goes on."""
    options = ("--maxmemory", "1gb", "--maxmemory-policy", "noeviction")
    async with RedisProcess(tmp_path, options) as redis, replica(redis, "full:") as owing:
        await owing.webhooks.open(CRM)
        head = await owing.send(channel, 1, 2)
        await redis.command("CONFIG", "SET", "maxmemory", "1mb")
        with pytest.raises(Unavailable):
            await owing.send(ChannelName("other"), 3)
        assert await owing.webhooks.deliver(CRM, channel, Position(head.epoch, 0), Position(head.epoch, 1))
        assert await owing.webhooks.deliver(CRM, channel, Position(head.epoch, 1), head)
        assert await owing.debts() == []
        deleted = await owing.log.append(Deletion(channel, some_id(1), NOW_MS))
        assert deleted.event.offset == 3
        assert await owing.debts() == [Debt(channel, head)]
        for _ in range(2):
            assert await owing.webhooks.lead(CRM, ReplicaId("one"))


async def test_a_strange_key_refuses_what_it_would_lose(
    redis: RedisProcess, owing: Owing, channel: ChannelName
) -> None:
    """In the place of debts: the message is refused and not written, channels of other partitions go on."""
    await owing.webhooks.open(CRM)
    strange = keys.debts(keys.partition(channel), CRM, owing.prefix)
    await redis.command("SET", strange, "x")
    with pytest.raises(Unavailable):
        await owing.send(channel, 1)
    assert (await owing.log.read(channel, 0, 1)).head.offset == 0
    other = next(
        name
        for name in (ChannelName(f"other:{number}") for number in range(9))
        if keys.partition(name) != keys.partition(channel)
    )
    await owing.send(other, 2)
    assert [debt.channel for debt in await owing.debts()] == [other]
    await redis.command("DEL", strange)
    await owing.send(channel, 3)
    assert {debt.channel for debt in await owing.debts()} == {channel, other}


async def test_a_damaged_debt_costs_its_channel_alone(redis: RedisProcess, owing: Owing, channel: ChannelName) -> None:
    """It is passed over, and the next append writes another; so are a damaged letter and a damaged line of the list."""
    partition = keys.partition(channel)
    await owing.webhooks.open(CRM)
    await redis.command("HSET", keys.debts(partition, CRM, owing.prefix), channel, "\x00")
    await redis.command("XADD", keys.dead(CRM, owing.prefix), "*", "l", "[1]")
    store = keys.store(partition, owing.prefix)
    line = await redis.command("HGET", store, "hooks")
    await redis.command("HSET", store, "hooks", b"\xff damaged\n\n" + line)
    assert await owing.debts() == []
    assert await owing.webhooks.dead(CRM, None, 10) == []
    assert not await owing.webhooks.open(CRM)
    head = await owing.send(channel, 1)
    assert await owing.debts() == [Debt(channel, Position(head.epoch, 0))]


async def test_a_kill_of_redis_loses_no_debt(tmp_path: Path, channel: ChannelName) -> None:
    """In the middle of appends and deliveries: every event behind the place that is left was acked or refused."""
    async with RedisProcess(tmp_path) as redis, replica(redis, "killed:") as owing:
        await owing.webhooks.open(CRM)
        names = [ChannelName(f"{channel}:{number}") for number in range(20)]
        heads = dict(zip(names, await asyncio.gather(*(owing.send(name, 1) for name in names)), strict=True))

        busy = asyncio.Event()  # the kill finds all of them in the middle

        async def deliver(name: ChannelName) -> None:
            at = Position(heads[name].epoch, 0)
            for number in range(2, 40):
                appended = await owing.send(name, number)
                heads[name] = appended
                if all(head.offset >= 5 for head in heads.values()):
                    busy.set()
                if await owing.webhooks.deliver(CRM, name, at, Position(at.epoch, appended.offset - 1)):
                    at = Position(at.epoch, appended.offset - 1)

        working = [asyncio.ensure_future(deliver(name)) for name in names]
        async with asyncio.timeout(DEADLINE_S):
            await busy.wait()
        redis.kill()
        await asyncio.gather(*working, return_exceptions=True)
        await redis.start()
        debts = {debt.channel: debt for debt in await owing.debts()}
        for name in names:
            kept = (await owing.log.read(name, 0, 0)).head
            assert name in debts
            assert debts[name].delivered.offset < max(kept.offset, heads[name].offset)


# Endpoints


async def test_replicas_open_at_once(redis: RedisProcess, prefix: str, channel: ChannelName) -> None:
    """Several endpoints by several replicas: every list has them all."""
    async with replica(redis, prefix) as one, replica(redis, prefix) as two, replica(redis, prefix) as three:
        replicas = (one, two, three)
        await asyncio.gather(*(each.webhooks.open(f"e{number}") for number, each in enumerate(replicas)))
        await one.send(channel, 1)
        assert [[debt.channel for debt in await two.debts(f"e{number}")] for number in range(3)] == [[channel]] * 3


async def test_an_endpoint_that_nobody_opens_is_forgotten(
    redis: RedisProcess, owing: Owing, channel: ChannelName
) -> None:
    """By the sweep, a week later, with its debts and letters; others stay."""
    await owing.webhooks.open(CRM)
    await owing.webhooks.open("other")
    partition, head = keys.partition(channel), await owing.send(channel, 1, 2)
    letter = DeadLetter("", channel, head.epoch, 1, 1, "gone", NOW_MS)
    assert await owing.webhooks.bury(CRM, Position(head.epoch, 0), letter, Position(head.epoch, 1))
    await owing.log.sweep.sweep(partition)
    assert len(await owing.debts()) == 1
    store = keys.store(partition, owing.prefix)
    lines = (await redis.command("HGET", store, "hooks")).decode().splitlines()
    seconds, _ = await redis.command("TIME")
    old = (int(seconds) - 7 * 24 * 3600 - 60) * 1000
    await redis.command("HSET", store, "hooks", f"{CRM} {old} o *\n{lines[1]}\n")
    await owing.log.sweep.sweep(partition)
    assert (await redis.command("HGET", store, "hooks")).decode() == f"{lines[1]}\n"
    assert (await owing.debts(), len(await owing.debts("other"))) == ([], 1)
    assert await owing.webhooks.dead(CRM, None, 10) == []


async def test_a_lead_ends_by_itself(redis: RedisProcess, owing: Owing) -> None:
    """Redis keeps it for 10 s."""
    assert await owing.webhooks.lead(CRM, ReplicaId("one"))
    assert 8_000 < await redis.command("PTTL", keys.lead(CRM, owing.prefix)) <= 10_000
    await redis.command("DEL", keys.lead(CRM, owing.prefix))
    assert await owing.webhooks.lead(CRM, ReplicaId("two"))


# Many channels


async def test_thousands_of_channels_are_paged(owing: Owing) -> None:
    """Each is found in a round of pages of a hundred, while they are paid."""
    await owing.webhooks.open(CRM)
    names = [ChannelName(f"many:{number}") for number in range(2_000)]
    for start in range(0, len(names), 500):
        await asyncio.gather(*(owing.send(name, 1) for name in names[start : start + 500]))
    assert await owing.webhooks.owed(CRM) == 2_000
    found, after = set[ChannelName](), None
    while True:
        page, after = await owing.webhooks.debts(CRM, after, 100)
        assert len(page) <= 400
        found |= {debt.channel for debt in page}
        moves = (
            owing.webhooks.deliver(CRM, debt.channel, debt.delivered, Position(debt.delivered.epoch, 1))
            for debt in page
        )
        assert all(await asyncio.gather(*moves))
        if after is None:
            break
    assert found == set(names)
    assert await owing.webhooks.owed(CRM) == 0
