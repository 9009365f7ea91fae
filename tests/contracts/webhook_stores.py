"""Logs of each kind with what they owe. The next that is opened over a store finds the debts, as after a kill."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Protocol

from server.adapters.memory.message_log import MemoryMessageLog
from server.adapters.memory.webhooks import MemoryWebhooks
from server.adapters.nats.link import Link
from server.adapters.nats.message_log import NatsMessageLog
from server.adapters.nats.side import token
from server.adapters.nats.webhooks import NatsWebhooks
from server.adapters.postgres.database import Database
from server.adapters.postgres.message_log import PostgresMessageLog
from server.adapters.postgres.webhooks import PostgresWebhooks
from server.adapters.redis import keys
from server.adapters.redis.clocks import Clocks
from server.adapters.redis.message_log import RedisMessageLog
from server.adapters.redis.webhooks import RedisWebhooks
from server.adapters.sqlite.message_log import SqliteMessageLog
from server.adapters.sqlite.webhooks import SqliteWebhooks
from server.domain.channels import ChannelName
from server.ports.message_log import MessageLog
from server.ports.webhooks import Webhooks
from tests.contracts.postgres_tables import emptied
from tests.contracts.redises import RedisServer
from tests.doubles.clock import Clock
from tests.doubles.samples import HOUR_MS
from tests.harness.nats import NatsProcess
from tests.harness.postgres import PostgresProcess

MAX_AGE_MS = 1_000 * HOUR_MS
LETTERS = 5
"""Dead letters that an endpoint keeps here."""

_numbers = count(1)


@dataclass
class Owing:
    """A log, and its debts."""

    log: MessageLog
    webhooks: Webhooks


class WebhookStore(Protocol):
    """The storage of a log and its debts. `clock` is its time."""

    clock: Clock

    def open(self, max_events: int = 100_000) -> AbstractAsyncContextManager[Owing]:
        """Open a log over the storage. Only one may be open at a time."""
        ...


class LosingStore(WebhookStore, Protocol):
    """A store that can lose a channel."""

    async def lose(self, owing: Owing, channel: ChannelName) -> None:
        """Lose the channel's events."""
        ...


class InMemory(LosingStore):
    """A log that outlives the test's contexts: there is nothing else that could."""

    def __init__(self) -> None:
        self.clock = Clock()
        self._log: MemoryMessageLog | None = None
        self._owing: Owing | None = None

    @asynccontextmanager
    async def open(self, max_events: int = 100_000) -> AsyncIterator[Owing]:
        """Open the log, or find it."""
        if self._owing is None:
            self._log = MemoryMessageLog(max_events=max_events, max_age_ms=MAX_AGE_MS, now_ms=self.clock)
            webhooks = MemoryWebhooks(self._log, lambda: self.clock() / 1_000, dead_letters=LETTERS)
            self._owing = Owing(self._log, webhooks)
        yield self._owing

    async def lose(self, owing: Owing, channel: ChannelName) -> None:
        """Forget the channel."""
        assert self._log is not None
        self._log.forget(channel)


class InSqlite(WebhookStore):
    """A file in the test's directory."""

    def __init__(self, directory: Path) -> None:
        self.clock = Clock()
        self._path = directory / "maru.db"

    @asynccontextmanager
    async def open(self, max_events: int = 100_000) -> AsyncIterator[Owing]:
        """Open the file."""
        log = SqliteMessageLog(
            self._path,
            max_events=max_events,
            max_age_ms=MAX_AGE_MS,
            now_ms=self.clock,
            monotonic_ms=self.clock,
        )
        async with log:
            yield Owing(log, SqliteWebhooks(log, self.clock, dead_letters=LETTERS))


class InRedis(LosingStore):
    """A part of a Redis, under a prefix of its own."""

    def __init__(self, process: RedisServer) -> None:
        self.clock = Clock()
        self._process, self.prefix = process, f"owing-{next(_numbers)}:"

    @asynccontextmanager
    async def open(self, max_events: int = 100_000) -> AsyncIterator[Owing]:
        """Connect a log and its webhooks, as a further replica."""
        clocks, url = Clocks(own=self.clock, store=self.clock), self._process.url
        log = RedisMessageLog(url, max_events=max_events, max_age_ms=MAX_AGE_MS, clocks=clocks, prefix=self.prefix)
        async with log:
            webhooks = RedisWebhooks(log, url, prefix=self.prefix, dead_letters=LETTERS)
            try:
                yield Owing(log, webhooks)
            finally:
                await webhooks.aclose()

    async def lose(self, owing: Owing, channel: ChannelName) -> None:
        """Delete the channel's stream."""
        await self._process.command("DEL", keys.log(channel, self.prefix))


class InNats(LosingStore):
    """A part of a NATS, under a prefix of its own."""

    def __init__(self, process: NatsProcess) -> None:
        self.clock = Clock()
        self._process, self.prefix = process, f"owing-{next(_numbers)}"

    @asynccontextmanager
    async def open(self, max_events: int = 100_000) -> AsyncIterator[Owing]:
        """Connect a log and its webhooks, as a further replica."""
        async with (
            Link(self._process.url) as link,
            NatsMessageLog(
                link, max_events=max_events, max_age_ms=MAX_AGE_MS, now_ms=self.clock, prefix=self.prefix
            ) as log,
        ):
            yield Owing(log, NatsWebhooks(log, dead_letters=LETTERS))

    async def lose(self, owing: Owing, channel: ChannelName) -> None:
        """Delete the channel's stream."""
        async with self._process.client() as client:
            await client.jetstream().delete_stream(f"{self.prefix}-log-{token(channel)}")


class InPostgres(LosingStore):
    """The tables of a PostgreSQL, which are empty at first: there is no endpoint."""

    def __init__(self, process: PostgresProcess) -> None:
        self.clock = Clock()
        self._process, self._fresh = process, False

    @asynccontextmanager
    async def open(self, max_events: int = 100_000) -> AsyncIterator[Owing]:
        """Connect a log and its webhooks, as a further replica."""
        if not self._fresh:
            tables = "endpoints", "debts", "letters", "leads"
            await emptied(self._process, *(f"webhook_{table}" for table in tables), "channels", "events")
            self._fresh = True
        async with (
            Database(self._process.url) as database,
            PostgresMessageLog(database, max_events=max_events, max_age_ms=MAX_AGE_MS, now_ms=self.clock) as log,
        ):
            yield Owing(log, PostgresWebhooks(log, self.clock, dead_letters=LETTERS))

    async def lose(self, owing: Owing, channel: ChannelName) -> None:
        """Let the channel have been lost, as a replica finds out that has seen an event which is not there."""
        gone = "DELETE FROM maru.events USING maru.channels c WHERE channel_id = c.id AND c.name = $1"
        await self._process.query(gone, channel)
        lost = "UPDATE maru.channels SET losses = losses + 1, head = 0, floor = 0, posts = 0 WHERE name = $1"
        await self._process.query(lost, channel)
