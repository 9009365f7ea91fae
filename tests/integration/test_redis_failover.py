"""The connections of a process while Redis fails over: none stays on a node that is no longer the master."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import ReadOnlyError

from server.adapters.redis import connection
from server.adapters.redis.bus import RedisBus
from server.adapters.redis.link import connect
from server.adapters.redis.master import Master
from server.adapters.redis.pipeline import Pipeline
from server.domain.errors import Unavailable
from tests.harness.proxy import Proxy
from tests.harness.redis import RedisProcess
from tests.harness.waiting import polled

DEADLINE_S = 10.0
PULSE_S = 0.1
AT_ONCE = ("--repl-diskless-sync-delay", "0")


class Pair:
    """Two nodes behind an address that does not change: `first` is the master, until `failover`."""

    def __init__(self, first: RedisProcess, second: RedisProcess, proxy: Proxy) -> None:
        self.first, self.second, self.proxy = first, second, proxy
        self.url = f"redis://127.0.0.1:{proxy.port}/0"

    async def failover(self) -> None:
        """Make the second node the master. The first lives on as its replica, and keeps its connections."""
        await self.second.command("REPLICAOF", "NO", "ONE")
        self.proxy.upstream_port = self.second.port
        await self.first.command("REPLICAOF", "127.0.0.1", self.second.port)

        async def holds() -> bool:
            return b"connected" in (await self.first.command("ROLE"))

        await polled(holds, DEADLINE_S, lambda: "the old master follows the new master")


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    """A master and its replica behind a proxy."""
    async with RedisProcess(tmp_path / "first", AT_ONCE) as first, RedisProcess(tmp_path / "second", AT_ONCE) as second:
        await second.command("REPLICAOF", "127.0.0.1", first.port)
        async with Proxy(first.port) as proxy:
            yield Pair(first, second, proxy)


@asynccontextmanager
async def running(url: str, master: Master) -> AsyncIterator[RedisBus]:
    """A bus whose listener runs."""
    bus = RedisBus(url, master, pulse_s=PULSE_S)
    listening = asyncio.create_task(bus.run())
    try:
        yield bus
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        await bus.aclose()


@asynccontextmanager
async def linked(url: str, master: Master) -> AsyncIterator[RedisBus]:
    """A bus that hears."""
    async with running(url, master) as bus:
        await within(bus.linked.wait())
        yield bus


async def within(wait: Awaitable[Any]) -> None:
    """Wait for something that must come."""
    async with asyncio.timeout(DEADLINE_S):
        await wait


@asynccontextmanager
async def piped(url: str, master: Master) -> AsyncIterator[Pipeline]:
    """A pipeline that is connected."""
    pipeline = Pipeline(connect(url), master)
    try:
        await pipeline.execute("PING")
        yield pipeline
    finally:
        await pipeline.aclose()


async def clients(node: RedisProcess) -> int:
    """Count connections to the node, without those of replicas and of the test."""
    async with node.client() as client:
        return sum(each["flags"] in {"N", "P"} for each in await client.client_list()) - 1


async def until_moved(pair: Pair, count: int, reader: Pipeline | None = None) -> None:
    """Wait until so many connections lead to the second node, and none to the first. `reader` goes on reading."""

    async def holds() -> bool:
        if reader is not None:
            with suppress(Unavailable):
                await reader.execute("PING")
        return (await clients(pair.first), await clients(pair.second)) == (0, count)

    await polled(holds, DEADLINE_S, lambda: f"{count} connections have moved")


async def test_a_refused_write_moves_every_connection(pair: Pair) -> None:
    """Writers, readers, publisher and listener leave the node together, though only a writer was refused."""
    master = Master()
    async with (
        linked(pair.url, master) as bus,
        piped(pair.url, master) as writer,
        piped(pair.url, master) as reader,
    ):
        await bus.publish("topic", b"before")
        await pair.failover()
        with pytest.raises(ReadOnlyError):
            await writer.execute("SET", "key", "value")
        assert await writer.execute("SET", "key", "value") == b"OK"
        assert await reader.execute("GET", "key") == b"value"
        await bus.publish("topic", b"after")
        await until_moved(pair, 4)


async def test_without_a_write_every_connection_moves_at_the_heartbeat(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replica of Maru that only reads and hears leaves the node, too: each connection asks for the role in time."""
    monkeypatch.setattr(connection, "ROLE_S", PULSE_S)
    master = Master()
    async with linked(pair.url, master) as bus, piped(pair.url, master) as reader:
        await pair.failover()
        await bus.subscribe("topic")
        await until_moved(pair, 3, reader)


async def test_a_listener_follows_the_publisher(pair: Pair) -> None:
    """The listener can't ask for the role; but the publisher's node says that nobody there hears the call."""
    async with linked(pair.url, Master()) as bus:
        await pair.failover()  # the publisher is not connected yet: its first call goes to the new master
        await until_moved(pair, 2)
        await within(bus.linked.wait())
        assert bus.deaf == 0


async def test_nothing_connects_to_a_replica(pair: Pair) -> None:
    """An address that leads to a replica is an outage, until it leads to a master again."""
    pair.proxy.upstream_port = pair.second.port
    pipeline = Pipeline(connect(pair.url))
    async with running(pair.url, Master()) as bus:
        with pytest.raises(Unavailable):
            await pipeline.execute("GET", "key")
        assert not bus.linked.is_set()
        await pair.second.command("REPLICAOF", "NO", "ONE")
        await within(bus.linked.wait())
        assert await pipeline.execute("GET", "key") is None
    await pipeline.aclose()
