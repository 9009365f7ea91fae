"""Every adapter behind the port it implements: a further adapter is one class and one param here."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from itertools import count
from pathlib import Path
from typing import Protocol

import pytest
import pytest_asyncio
import redis

from server.adapters.memory.message_log import MemoryMessageLog
from server.adapters.nats.link import Link
from server.adapters.nats.message_log import NatsMessageLog
from server.adapters.postgres.database import Database
from server.adapters.postgres.message_log import PostgresMessageLog
from server.adapters.redis.clocks import Clocks
from server.adapters.redis.message_log import RedisMessageLog
from server.adapters.sqlite.message_log import SqliteMessageLog
from server.domain.channels import ChannelName
from server.domain.events import UnknownEvent
from server.domain.gcra import Rate
from server.domain.retention import Retention
from server.domain.rules import Rule
from server.ports.message_log import MessageLog
from tests.contracts.redises import REDISES, RedisServer, redis_of
from tests.contracts.webhook_stores import InMemory, InNats, InPostgres, InRedis, InSqlite, LosingStore, WebhookStore
from tests.doubles import newer_version
from tests.doubles.clock import Clock
from tests.doubles.samples import HOUR_MS
from tests.harness.kafka import KafkaProcess, broker
from tests.harness.nats import NatsProcess
from tests.harness.postgres import PostgresProcess
from tests.harness.redis import RedisProcess
from tests.harness.redis_cluster import ClusterProcess

_numbers = count(1)


class LogStore(Protocol):
    """The storage of logs of one kind: a log finds the events that an earlier one wrote."""

    clock: Clock
    erases: bool = True
    """Whether a deletion takes the text out of the log's events."""
    shared: bool = False
    """Whether several logs may be open at once."""
    examples: int = 1_000
    """Examples that a model still tries: each write into some stores takes long."""

    def tries(self) -> bool:
        """Whether the model is to try another example."""
        self.examples -= 1
        return self.examples >= 0

    def open(
        self,
        *,
        max_events: int = 100_000,
        max_age_ms: int = 1_000 * HOUR_MS,
        rules: Mapping[str, Rule] | None = None,
        rate: Rate | None = None,
    ) -> AbstractAsyncContextManager[MessageLog]:
        """Return a log over the storage. Only one may be open at a time."""
        ...

    def lose(self) -> None:
        """Lose everything, as in a disaster. No log may be open."""
        ...

    async def write_unknown(self, channel: ChannelName) -> UnknownEvent:
        """Let a newer version write an entry into the channel, which has an event. No log may be open."""
        ...


class MemoryStore(LogStore):
    """Its log outlives the test's contexts: there is nothing else that could."""

    def __init__(self) -> None:
        self.clock = Clock()
        self._log: MemoryMessageLog | None = None

    def open(
        self,
        *,
        max_events: int = 100_000,
        max_age_ms: int = 1_000 * HOUR_MS,
        rules: Mapping[str, Rule] | None = None,
        rate: Rate | None = None,
    ) -> AbstractAsyncContextManager[MessageLog]:
        self._log = self._log or MemoryMessageLog(
            max_events=max_events,
            max_age_ms=max_age_ms,
            rate=rate,
            now_ms=self.clock,
            clock=lambda: self.clock() / 1_000,
        )
        self._log.retention = Retention(max_events, max_age_ms, rules)  # as a restart would have it
        return nullcontext(self._log)

    def lose(self) -> None:
        self._log = None

    async def write_unknown(self, channel: ChannelName) -> UnknownEvent:
        assert self._log is not None
        return newer_version.write_in_memory(self._log, channel, self.clock.now)


class SqliteStore(LogStore):
    """A file in the test's directory."""

    def __init__(self, directory: Path) -> None:
        self.clock = Clock()
        self._path = directory / "maru.db"

    def open(
        self,
        *,
        max_events: int = 100_000,
        max_age_ms: int = 1_000 * HOUR_MS,
        rules: Mapping[str, Rule] | None = None,
        rate: Rate | None = None,
    ) -> AbstractAsyncContextManager[MessageLog]:
        return SqliteMessageLog(
            self._path,
            max_events=max_events,
            max_age_ms=max_age_ms,
            rules=rules,
            rate=rate,
            now_ms=self.clock,
            monotonic_ms=self.clock,
            sweep_interval_s=0.05,
        )

    def lose(self) -> None:
        self._path.unlink()

    async def write_unknown(self, channel: ChannelName) -> UnknownEvent:
        return newer_version.write_in_sqlite(self._path, channel, self.clock.now)


class RedisStore(LogStore):
    """A Redis of the whole session: each test has channels of its own."""

    shared = True

    def __init__(self, process: RedisServer) -> None:
        self.clock = Clock()
        self._process = process

    def open(
        self,
        *,
        max_events: int = 100_000,
        max_age_ms: int = 1_000 * HOUR_MS,
        rules: Mapping[str, Rule] | None = None,
        rate: Rate | None = None,
    ) -> AbstractAsyncContextManager[MessageLog]:
        clocks = Clocks(own=self.clock, store=self.clock)
        return RedisMessageLog(
            self._process.url, max_events=max_events, max_age_ms=max_age_ms, rules=rules, rate=rate, clocks=clocks
        )

    def lose(self) -> None:
        for url in self._process.node_urls:
            with redis.Redis.from_url(url) as client:
                client.flushall()

    async def write_unknown(self, channel: ChannelName) -> UnknownEvent:
        return await newer_version.write_in_redis(self._process.command, channel, self.clock.now)


class PostgresStore(LogStore):
    """A PostgreSQL of the whole session: each test has channels of its own."""

    shared = True
    examples = 10

    def __init__(self, process: PostgresProcess) -> None:
        self.clock = Clock()
        self._process = process

    @asynccontextmanager
    async def open(
        self,
        *,
        max_events: int = 100_000,
        max_age_ms: int = 1_000 * HOUR_MS,
        rules: Mapping[str, Rule] | None = None,
        rate: Rate | None = None,
    ) -> AsyncIterator[MessageLog]:
        async with (
            Database(self._process.url) as database,
            PostgresMessageLog(
                database,
                max_events=max_events,
                max_age_ms=max_age_ms,
                rules=rules,
                rate=rate,
                now_ms=self.clock,
                sweep_interval_s=0.05,
            ) as log,
        ):
            yield log

    def lose(self) -> None:
        self._process.psql("DROP SCHEMA maru CASCADE")

    async def write_unknown(self, channel: ChannelName) -> UnknownEvent:
        return await newer_version.write_in_postgres(self._process.query, channel, self.clock.now)


class NatsStore(LogStore):
    """A NATS of the whole session: each test has channels of its own."""

    shared = True

    def __init__(self, process: NatsProcess) -> None:
        self.clock = Clock()
        self._process = process

    @asynccontextmanager
    async def open(
        self,
        *,
        max_events: int = 100_000,
        max_age_ms: int = 1_000 * HOUR_MS,
        rules: Mapping[str, Rule] | None = None,
        rate: Rate | None = None,
    ) -> AsyncIterator[MessageLog]:
        async with (
            Link(self._process.url) as link,
            NatsMessageLog(
                link, max_events=max_events, max_age_ms=max_age_ms, rules=rules, rate=rate, now_ms=self.clock
            ) as log,
        ):
            yield log

    def lose(self) -> None:
        self._process.lose_streams()

    async def write_unknown(self, channel: ChannelName) -> UnknownEvent:
        return await newer_version.write_in_nats(self._process.url, channel, self.clock.now)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def redis_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RedisProcess]:
    """One Redis for all contracts."""
    async with RedisProcess(tmp_path_factory.mktemp("redis")) as process:
        yield process


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def postgres_server() -> AsyncIterator[PostgresProcess]:
    """One PostgreSQL for all contracts."""
    async with PostgresProcess() as process:
        yield process


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def nats_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[NatsProcess]:
    """One NATS for all contracts."""
    async with NatsProcess(tmp_path_factory.mktemp("nats")) as process:
        yield process


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def kafka_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[KafkaProcess]:
    """One Kafka for all contracts, with the topic of hints."""
    async with broker(tmp_path_factory.mktemp("kafka")) as process:
        yield process


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def redis_cluster_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ClusterProcess]:
    """One Redis Cluster for all contracts. Their masters need no replicas."""
    async with ClusterProcess(tmp_path_factory.mktemp("redis-cluster"), replicas=False) as process:
        yield process


@pytest.fixture(params=REDISES)
def any_redis(request: pytest.FixtureRequest) -> RedisServer:
    """A Redis, and a Redis Cluster."""
    return redis_of(request)


@pytest.fixture(params=["memory", "sqlite", "postgres", "nats", *REDISES])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> LogStore:
    """A store of each kind, empty."""
    match request.param:
        case "memory":
            return MemoryStore()
        case "sqlite":
            return SqliteStore(tmp_path)
        case "postgres":
            return PostgresStore(request.getfixturevalue("postgres_server"))
        case "nats":
            return NatsStore(request.getfixturevalue("nats_server"))
        case _:
            return RedisStore(redis_of(request))


@pytest.fixture
async def log(store: LogStore) -> AsyncIterator[MessageLog]:
    """A log of each kind, without a bound that a test would meet."""
    async with store.open() as opened:
        yield opened


@pytest.fixture(params=["memory", "sqlite", "postgres", "nats", *REDISES])
def people_store(request: pytest.FixtureRequest, tmp_path: Path) -> LogStore:
    """A store of each kind that keeps reactions, records, marks and follows, empty."""
    match request.param:
        case "memory":
            return MemoryStore()
        case "sqlite":
            return SqliteStore(tmp_path)
        case "postgres":
            return PostgresStore(request.getfixturevalue("postgres_server"))
        case "nats":
            return NatsStore(request.getfixturevalue("nats_server"))
        case _:
            return RedisStore(redis_of(request))


@pytest.fixture
def channel() -> ChannelName:
    """A channel that no other test uses: the store may be shared."""
    return ChannelName(f"contract:{next(_numbers)}")


@pytest.fixture(params=["memory", "sqlite", "postgres", "nats", *REDISES])
def webhook_store(request: pytest.FixtureRequest, tmp_path: Path) -> WebhookStore:
    """A store of each kind, empty."""
    match request.param:
        case "memory":
            return InMemory()
        case "sqlite":
            return InSqlite(tmp_path)
        case "nats":
            return InNats(request.getfixturevalue("nats_server"))
        case "postgres":
            return InPostgres(request.getfixturevalue("postgres_server"))
        case _:
            return InRedis(redis_of(request))


@pytest.fixture(params=["memory", "postgres", "nats", *REDISES])
def losing_store(request: pytest.FixtureRequest) -> LosingStore:
    """A store of each kind that can lose a channel, empty."""
    match request.param:
        case "memory":
            return InMemory()
        case "nats":
            return InNats(request.getfixturevalue("nats_server"))
        case "postgres":
            return InPostgres(request.getfixturevalue("postgres_server"))
        case _:
            return InRedis(redis_of(request))
