"""The engines over which replicas meet, for tests that every engine has to pass: each is one entry of `ENGINES`.

An engine starts its stores and brokers, gives replicas their environment, and lets a test break each of its parts.
"""

import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from tests.harness.kafka import KafkaProcess
from tests.harness.nats import NatsProcess
from tests.harness.postgres import PgBouncer, PostgresProcess
from tests.harness.proxy import Proxy
from tests.harness.redis import RedisProcess
from tests.harness.redis_cluster import ClusterProcess

Open = Callable[[Path], AbstractAsyncContextManager["Engine"]]
"""Starts an engine in a folder."""


class Part(Protocol):
    """A store or broker of an engine, as processes."""

    async def kill(self) -> None:
        """`kill -9`, and wait until it is gone."""
        ...

    async def start(self) -> None:
        """Start it again with the data that it has written; return once it serves."""
        ...

    def freeze(self) -> None:
        """SIGSTOP: connections stay, nothing is answered."""
        ...

    def thaw(self) -> None:
        """SIGCONT."""
        ...

    async def cut(self) -> None:
        """Close the connections of all replicas, those that listen, too."""
        ...

    async def restart(self) -> None:
        """Stop it as an operator does, and start it again."""
        await self.kill()
        await self.start()


@dataclass(slots=True)
class Engine:
    """An engine that runs."""

    env: Mapping[str, str]
    """Of a replica."""
    parts: Mapping[str, Part]
    """By name. Without any of them, commands are `unavailable`."""
    hints_only: frozenset[str] = frozenset()
    """The parts that carry hints alone: without them, too, but what is kept can be read."""
    may_reset: bool = False
    """Whether clients may be told of another epoch after a kill."""
    of_second: Mapping[str, str] = field(default_factory=dict)
    """Of the second replica, on top."""


class RedisPart(Part):
    """A Redis."""

    def __init__(self, process: RedisProcess) -> None:
        self._process = process

    async def kill(self) -> None:
        self._process.kill()

    async def start(self) -> None:
        await self._process.start()

    def freeze(self) -> None:
        self._process.freeze()

    def thaw(self) -> None:
        self._process.thaw()

    async def cut(self) -> None:
        for kind in ("normal", "pubsub"):
            await self._process.command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")


@asynccontextmanager
async def redis(folder: Path) -> AsyncIterator[Engine]:
    """Redis alone."""
    async with RedisProcess(folder / "redis") as process:
        yield Engine({"MARU_REDIS_URL": process.url}, {"redis": RedisPart(process)})


class RedisClusterPart(Part):
    """All nodes of a Redis Cluster."""

    def __init__(self, process: ClusterProcess) -> None:
        self._process = process

    async def kill(self) -> None:
        for node in self._process.nodes:
            node.kill()

    async def start(self) -> None:
        await self._process.start()

    def freeze(self) -> None:
        for node in self._process.nodes:
            node.freeze()

    def thaw(self) -> None:
        for node in self._process.nodes:
            node.thaw()

    async def cut(self) -> None:
        for kind in ("normal", "pubsub"):
            await self._process.command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")


@asynccontextmanager
async def redis_cluster(folder: Path) -> AsyncIterator[Engine]:
    """A Redis Cluster of three masters. Its failovers are tried in tests/integration/test_redis_cluster.py."""
    async with ClusterProcess(folder / "redis-cluster", replicas=False) as process:
        yield Engine({"MARU_REDIS_URL": process.url}, {"redis-cluster": RedisClusterPart(process)})


class NatsPart(Part):
    """A NATS behind proxies: it has no command that closes connections."""

    def __init__(self, process: NatsProcess, *proxies: Proxy) -> None:
        self._process, self._proxies = process, proxies

    async def kill(self) -> None:
        self._process.kill()

    async def start(self) -> None:
        await self._process.start()

    def freeze(self) -> None:
        self._process.freeze()

    def thaw(self) -> None:
        self._process.thaw()

    async def cut(self) -> None:
        for proxy in self._proxies:
            proxy.cut()


@asynccontextmanager
async def _nats(folder: Path) -> AsyncIterator[tuple[str, NatsPart]]:
    """A NATS, by its URL for replicas."""
    async with NatsProcess(folder / "nats") as process, Proxy(process.port) as proxy:
        yield f"nats://127.0.0.1:{proxy.port}", NatsPart(process, proxy)


def with_nats(store: Open) -> Open:
    """NATS for the hints, beside a store."""

    @asynccontextmanager
    async def opened(folder: Path) -> AsyncIterator[Engine]:
        async with store(folder) as engine, _nats(folder) as (url, part):
            env = {**engine.env, "MARU_BROADCAST": "nats", "MARU_NATS_URL": url}
            parts = {**engine.parts, "nats": part}
            yield replace(engine, env=env, parts=parts, hints_only=engine.hints_only | {"nats"})

    return opened


@asynccontextmanager
async def nats(folder: Path) -> AsyncIterator[Engine]:
    """NATS alone."""
    async with _nats(folder) as (url, part):
        yield Engine({"MARU_NATS_URL": url}, {"nats": part})


class KafkaPart(Part):
    """A Kafka behind a proxy: it closes no connection when it is asked to."""

    def __init__(self, process: KafkaProcess, proxy: Proxy) -> None:
        self._process, self._proxy = process, proxy

    async def kill(self) -> None:
        self._process.kill()

    async def start(self) -> None:
        await self._process.start()

    def freeze(self) -> None:
        self._process.freeze()

    def thaw(self) -> None:
        self._process.thaw()

    async def cut(self) -> None:
        self._proxy.cut()


class PostgresPart(Part):
    """A PostgreSQL."""

    def __init__(self, process: PostgresProcess) -> None:
        self._process = process

    async def kill(self) -> None:
        self._process.kill()

    async def start(self) -> None:
        await self._process.start()

    def freeze(self) -> None:
        self._process.freeze()

    def thaw(self) -> None:
        self._process.thaw()

    async def cut(self) -> None:
        await self._process.terminate_backends()

    async def restart(self) -> None:
        await self._process.restart()


@asynccontextmanager
async def postgres(_folder: Path) -> AsyncIterator[Engine]:
    """PostgreSQL alone. The second replica uses it through a PgBouncer in transaction mode, and listens past it."""
    async with PostgresProcess() as process, PgBouncer(process) as pooler:
        env = {"MARU_POSTGRES_URL": process.url}
        pooled = {"MARU_POSTGRES_URL": pooler.url, "MARU_POSTGRES_LISTEN_URL": process.url}
        yield Engine(env, {"postgres": PostgresPart(process)}, of_second=pooled)


def with_kafka(store: Open) -> Open:
    """Kafka for the hints, beside a store."""

    @asynccontextmanager
    async def opened(folder: Path) -> AsyncIterator[Engine]:
        process = KafkaProcess(folder / "kafka")
        async with store(folder) as engine, Proxy(process.behind) as proxy:
            process.proxy = proxy.port
            async with process:
                await process.create_hints()
                servers = f"127.0.0.1:{proxy.port}"
                env = {**engine.env, "MARU_BROADCAST": "kafka", "MARU_KAFKA_SERVERS": servers}
                parts = {**engine.parts, "kafka": KafkaPart(process, proxy)}
                yield replace(engine, env=env, parts=parts, hints_only=engine.hints_only | {"kafka"})

    return opened


ENGINES: dict[str, Open] = {
    "nats": nats,
    "postgres": postgres,
    "postgres+kafka": with_kafka(postgres),
    "redis": redis,
    "redis-cluster": redis_cluster,
}
"""By name; each is given a folder of its own."""

if os.environ.get("MORE_ENGINES"):  # other pairs of the same parts: each takes half a minute more
    ENGINES |= {
        "postgres+nats": with_nats(postgres),
        "redis+kafka": with_kafka(redis),
        "redis+nats": with_nats(redis),
    }
