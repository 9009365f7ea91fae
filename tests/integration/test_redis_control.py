"""Orders and leases in a real Redis: one that comes back older, or empty; and those of real servers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic

import pytest

from server.adapters.clock import now_ms
from server.adapters.redis import keys, revocations
from server.adapters.redis.control import RedisControl
from server.adapters.redis.link import connect
from server.adapters.redis.pipeline import Pipeline
from server.adapters.redis.replicas import RedisReplicas
from server.domain.channels import ChannelName
from server.domain.control import Heard, Order, Resync, SessionsEnded
from server.domain.identity import UserId
from server.domain.replicas import ReplicaId, ReplicaState
from tests.harness.process import free_port
from tests.harness.proxy import Proxy
from tests.harness.redis import RedisProcess
from tests.harness.server import ServerProcess
from tests.harness.waiting import polled

DEADLINE_S = 10.0


@pytest.fixture
async def redis(tmp_path: Path) -> AsyncIterator[RedisProcess]:
    """A Redis of the test's own, which it restarts."""
    async with RedisProcess(tmp_path / "redis") as process:
        yield process


@asynccontextmanager
async def control_of(redis: RedisProcess) -> AsyncIterator[tuple[RedisControl, AsyncIterator[Heard]]]:
    """A replica's way to the list, with its listener."""
    control = RedisControl(redis.url)
    try:
        yield control, control.listen()
    finally:
        await control.aclose()


async def items(listener: AsyncIterator[Heard], number: int) -> list[Heard]:
    """The next items."""
    async with asyncio.timeout(DEADLINE_S):
        return [await anext(listener) for _ in range(number)]


def ended(number: int) -> Order:
    """An order of its own."""
    return SessionsEnded(UserId(f"user {number}"), reconnect=False)


async def test_a_redis_that_comes_back_older_is_noticed(redis: RedisProcess, tmp_path: Path) -> None:
    """A reader that has heard more says `Resync`, hears the orders that follow, and none twice."""
    async with control_of(redis) as (control, listener):
        await control.append(ended(0))
        assert await items(listener, 1) == [Resync()]
        await control.append(ended(1))
        assert await items(listener, 1) == [ended(1)]
        redis.save(tmp_path / "moment")
        await control.append(ended(2))
        assert await items(listener, 1) == [ended(2)]
        await redis.restore(tmp_path / "moment")
        await control.append(ended(3))
        assert await items(listener, 2) == [Resync(lost=True), ended(3)]
        await redis.command("DEL", keys.control())
        await control.append(ended(4))
        assert await items(listener, 2) == [Resync(lost=True), ended(4)]


async def test_an_emptied_list_is_no_endless_resync(redis: RedisProcess) -> None:
    """Somebody trims it to nothing: one `Resync`, then the orders that follow."""
    async with control_of(redis) as (control, listener):
        await control.append(ended(0))
        assert await items(listener, 1) == [Resync()]
        await control.append(ended(1))
        assert await items(listener, 1) == [ended(1)]
        await redis.command("XTRIM", keys.control(), "MAXLEN", 0)
        assert await items(listener, 1) == [Resync(lost=True)]
        await control.append(ended(2))
        assert await items(listener, 1) == [ended(2)]


async def test_the_first_order_of_all_is_heard_after_an_outage(redis: RedisProcess) -> None:
    """A reader of an empty list, which is cut off as the order is given."""
    async with Proxy(redis.port) as way:
        away = RedisControl(f"redis://127.0.0.1:{way.port}")
        try:
            listener = away.listen()
            assert await items(listener, 1) == [Resync()]
            waiting = asyncio.ensure_future(anext(listener))
            way.upstream_port = free_port()  # nobody listens there
            way.cut()
            await asyncio.wait([waiting], timeout=0.3)
            async with control_of(redis) as (control, _):
                await control.append(ended(1))
            way.upstream_port = redis.port
            async with asyncio.timeout(DEADLINE_S):
                assert [await waiting, await anext(listener)] == [Resync(lost=True), ended(1)]
        finally:
            await away.aclose()


async def test_many_entries_are_read_from_afar(redis: RedisProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long it takes: a replica that gave up would admit nobody, for ever."""
    monkeypatch.setattr(revocations, "PAGE", 10)
    until = str(now_ms() + 60_000)
    names = [word for number in range(600) for word in (keys.denial(UserId(str(number)), ChannelName("a")), until)]
    await redis.command("HSET", keys.denied()[0], *names)
    async with Proxy(redis.port, delay_s=0.05) as way:
        store = revocations.RedisRevocations(f"redis://127.0.0.1:{way.port}")
        began = monotonic()
        try:
            assert len((await store.load()).denials) == 600
        finally:
            await store.aclose()
        assert monotonic() - began > 2.0  # more than any other call may take


async def test_a_server_lives_by_its_lease(redis: RedisProcess, tmp_path: Path) -> None:
    """Its row has its state and its numbers; a stop ends the lease, a kill does not."""
    pipeline = Pipeline(connect(redis.url))
    watcher = RedisReplicas(pipeline, ReplicaId("watcher"), version="0")
    env = {"MARU_REDIS_URL": redis.url}
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    async with ServerProcess(folders[0], env) as one, ServerProcess(folders[1], env) as two:

        async def both_serve() -> bool:
            return [row.state for row in await watcher.living()] == [ReplicaState.SERVING] * 2

        await polled(both_serve, DEADLINE_S, lambda: "both replicas serve")
        for row in await watcher.living():
            assert 25 <= len(row.numbers) <= 64
            assert row.numbers["rss_bytes"] > 1_000_000
            assert row.numbers["link_up"] == 1
        assert await two.terminate() == 0
        assert len(await watcher.living()) == 1
        await one.kill()
        assert len(await watcher.living()) == 1
    await pipeline.aclose()
