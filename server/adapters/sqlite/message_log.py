"""The embedded message log: a SQLite file, durable, no server to start."""

import asyncio
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from server.adapters.clock import now_ms
from server.adapters.sqlite.database import DEADLINE_S, exclusive, prepare
from server.adapters.sqlite.debts import Debts
from server.adapters.sqlite.entries import Entry
from server.adapters.sqlite.opened_file import OpenedFile
from server.adapters.sqlite.reader import Reader
from server.adapters.sqlite.space import Space
from server.adapters.sqlite.sweep import Sweep
from server.adapters.sqlite.writer import Writer
from server.domain.appending import Appended
from server.domain.channel_rates import ChannelRates
from server.domain.channels import ChannelName
from server.domain.drafts import Draft, Sender
from server.domain.errors import Unavailable
from server.domain.events import Event
from server.domain.gcra import Rate
from server.domain.messages import Message, MessageId, Position, Tombstone
from server.domain.retention import Retention
from server.domain.rules import Rule
from server.ports.message_log import Done, MessageLog, Page, Replay

T = TypeVar("T")

SWEEP_INTERVAL_S = 60.0
"""Between two passes over all channels for events that have grown too old: they may be dropped this late."""


def _monotonic_ms() -> int:
    return time.monotonic_ns() // 1_000_000


class SqliteMessageLog(MessageLog):
    """A log in the file `path` (and `path`-wal, -shm, .lock beside it), for a single server at a time.

    An async context manager. Entering opens and checks the file, or makes it and its directory; it raises
    `LogUnusable`. Leaving writes the drafts that wait. `max_events` and `max_age_ms` are the retention of a
    channel, if no rule says another; the age of events and keys counts by `now_ms`, from when they were written. Events
    over the count are dropped with the next append, events that are too old within `sweep_interval_s`. `rate` is that
    of a channel's events. `max_bytes` bounds the whole log (`space.py`): over it, nothing is written but deletions.
    """

    def __init__(  # noqa: PLR0913  # the settings of a log, and a test's time
        self,
        path: Path,
        *,
        max_events: int,
        max_age_ms: int,
        rules: Mapping[str, Rule] | None = None,
        rate: Rate | None = None,
        now_ms: Callable[[], int] = now_ms,
        monotonic_ms: Callable[[], int] = _monotonic_ms,
        sweep_interval_s: float = SWEEP_INTERVAL_S,
        max_bytes: int | None = None,
    ) -> None:
        self._path = path
        self.space = Space(path, max_bytes)
        self._retention = Retention(max_events, max_age_ms, rules)
        self._rates = ChannelRates(rate, lambda: monotonic_ms() / 1_000)
        self._now_ms = now_ms
        self._sweep = Sweep(
            self._retention,
            now_ms=now_ms,
            monotonic_ms=monotonic_ms,
            interval_s=sweep_interval_s,
        )
        self.debts = Debts()  # to the endpoints of webhooks; of the writer's thread
        self._open = ExitStack()

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self._enter, asyncio.get_running_loop())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._intake.hand_over()
        await asyncio.to_thread(self._open.close)

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
        """Nothing: the file is this process' own, and can't come back older while the process lives."""

    def write(self, entry: Entry) -> asyncio.Future[Any]:
        """Write what is no draft of a message, in the same order and the same transactions. The result is that of the
        entry's kind (`Written`)."""
        return self._intake.append(entry)

    async def do(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do other work with the file: see `Intake.do`. It must not last: no append is written meanwhile.

        Raises `Unavailable` if it is not done in time; it may be done all the same.
        """
        try:
            async with asyncio.timeout(DEADLINE_S):
                return await self._intake.do(work)
        except TimeoutError as error:
            raise Unavailable(f"the message log's writer did not answer within {DEADLINE_S:.0f} s") from error

    @property
    def trims_refused(self) -> int:
        """How many passes have kept events that the wall clock calls too old."""
        return self._sweep.refusals

    async def watch(self) -> None:
        """Wait for a fault after which nothing can be written any more, then raise it. Otherwise this never ends."""
        await self._intake.watch()

    def _enter(self, loop: asyncio.AbstractEventLoop) -> None:
        with ExitStack() as stack:
            stack.enter_context(exclusive(self._path))
            store_id = prepare(self._path)
            file = OpenedFile(self._path)
            writer = Writer(
                file,
                store_id,
                loop=loop,
                retention=self._retention,
                debts=self.debts,
                rates=self._rates,
                now_ms=self._now_ms,
                sweep=self._sweep,
                space=self.space,
            )
            # Closed last: the last connection to close empties the WAL and removes it, which only the writer can.
            stack.callback(writer.stop)
            self._intake = writer.intake
            self.reader = Reader(file, store_id)
            stack.callback(self.reader.stop)
            self._open = stack.pop_all()
