"""The message log in PostgreSQL, which any number of replicas share."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from server.adapters.postgres.changes import Changes
from server.adapters.postgres.channels import Channels
from server.adapters.postgres.database import Database
from server.adapters.postgres.intake import Entry, Intake, Outcome, Waiting
from server.adapters.postgres.posts import Posts
from server.adapters.postgres.reader import Reader
from server.adapters.postgres.seen import Seen
from server.adapters.postgres.sweep import Sweep
from server.adapters.postgres.terms import Terms
from server.domain.appending import Appended
from server.domain.channels import ChannelName
from server.domain.drafts import Draft, NewMessage, Sender
from server.domain.events import Event
from server.domain.gcra import Rate
from server.domain.messages import Message, MessageId, Position, Tombstone
from server.domain.rules import Rule
from server.ports.message_log import Done, MessageLog, Page, Replay

SWEEP_INTERVAL_S = 60.0
"""Between two passes over all channels for events that have grown too old: they may be dropped this late."""


class PostgresMessageLog(MessageLog):
    """A log in the schema `maru` of a database; `database` is the caller's, who closes it after the log.

    An async context manager. Entering does not connect: PostgreSQL may come later. Leaving writes the drafts that wait.
    `max_events` and `max_age_ms` are the retention of a channel, if no rule says another; age and rate are judged by
    PostgreSQL's clock, unless a test has its own.
    """

    def __init__(  # the settings of a log, and a test's time
        self,
        database: Database,
        *,
        max_events: int,
        max_age_ms: int,
        rules: Mapping[str, Rule] | None = None,
        rate: Rate | None = None,
        now_ms: Callable[[], int] | None = None,
        sweep_interval_s: float = SWEEP_INTERVAL_S,
    ) -> None:
        self.database = database
        self.channels = Channels(database)
        self.reader = Reader(database)
        terms = Terms(max_events, max_age_ms, rules, rate, now_ms)
        self._posts = Posts(database, self.channels, terms)
        self._changes = Changes(database, self.channels, terms)
        self._intake = Intake(self._write)
        self._seen = Seen()
        self._sweep = Sweep(database, terms, sweep_interval_s)
        self._sweeping: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self.database.on_identity = self.channels.forget
        self.database.on_start = self._seen.compare
        self._sweeping = asyncio.create_task(self._sweep.run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._sweeping is not None
        self._sweeping.cancel()
        with suppress(asyncio.CancelledError):
            await self._sweeping
        await self._intake.aclose()

    def append(self, draft: Draft) -> asyncio.Future[Appended]:
        return self._intake.append(draft)

    def submit(self, draft: Draft, sender: Sender, done: Done) -> None:
        self._intake.submit(draft, sender, done)

    @property
    def crowded(self) -> bool:
        return self._intake.crowded

    async def read(self, channel: ChannelName, after: int, limit: int) -> Replay:
        return await self.reader.read(channel, after, limit)

    async def heads(self, channels: Sequence[ChannelName]) -> Mapping[ChannelName, Position]:
        return await self.reader.heads(channels)

    async def message(self, channel: ChannelName, id: MessageId) -> Message | Tombstone | None:
        return await self.reader.message(channel, id)

    async def history(self, channel: ChannelName, before: int | None, after: int | None, limit: int) -> Page:
        return await self.reader.history(channel, before, after, limit)

    def note(self, event: Event) -> None:
        self._seen.note(event.channel, Position(event.epoch, event.offset), event.at)

    def write(self, entry: Entry) -> asyncio.Future[Any]:
        """Write an entry of any kind, in the same order. The result is that of its kind (`Outcome`)."""
        return self._intake.append(entry)

    async def _write(self, batch: Sequence[Waiting], seconds: float) -> Sequence[Outcome]:
        posts = [waiting.draft for waiting in batch if isinstance(waiting.draft, NewMessage)]
        outcomes = await (self._posts.write(posts, seconds) if posts else self._changes.write(batch, seconds))
        for outcome in outcomes:
            if isinstance(outcome, Appended) and not outcome.duplicate:
                self.note(outcome.event)
        return outcomes
