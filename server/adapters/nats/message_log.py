"""The message log in JetStream: a stream for each channel, and a fold of it in each replica that uses the channel."""

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Self, cast

from server.adapters.nats import names
from server.adapters.nats.deciding import Outcome, Tokens, Work
from server.adapters.nats.fold import Fold
from server.adapters.nats.journal import Journal
from server.adapters.nats.link import Link
from server.adapters.nats.queueing import Queues
from server.adapters.nats.reading import message_of, page_of
from server.adapters.nats.side import Side
from server.adapters.nats.store_clock import StoreClock
from server.adapters.nats.streams import Streams
from server.adapters.nats.sweep import Sweep
from server.domain.appending import Appended
from server.domain.channels import ChannelName
from server.domain.drafts import Draft, Sender
from server.domain.errors import MaruError, Unavailable
from server.domain.events import Event
from server.domain.gcra import Rate, pace
from server.domain.messages import Message, MessageId, Position, Tombstone
from server.domain.retention import Kept as Bounds
from server.domain.retention import Retention
from server.domain.rules import Rule
from server.ports.message_log import Done, MessageLog, Page, Replay

FOLDED_EVENTS = 200_000
"""Events that a process holds of all channels together, about; the channels that were not used for longest go first.
With a text of 200 characters, some 300 MB."""

FOLDED_CHANNELS = 20_000
"""Channels of which a process holds something."""

HEADS_AT_ONCE = 2_000
"""Channels whose heads are asked for in one go. Each costs a call, as a read does."""

TEND_S = 10.0
"""Between two looks for events that were dropped and are in their streams still."""


class NatsMessageLog(MessageLog):
    """A log in the JetStream behind a link, which the caller opens and closes; shared by all replicas.

    An async context manager; leaving takes dropped events out of the streams. `max_events` and `max_age_ms` are the
    retention of a channel, if no rule says another. Age counts by the server's time (`store_clock.py`), or by `now_ms`
    if a test moves time. `rate` is that of a channel's events.

    Durable means, as for the server: in a single server an event that was acknowledged survives the end of the
    process, and outlives a power cut only if `sync_interval` is `always`; with `replicas` of 3 it is in two servers.
    The events of a channel are in the memory of each replica that uses it: the first read of a long log takes its time,
    and is `Unavailable` until then.
    """

    def __init__(  # noqa: PLR0913  # the settings of a log, and a test's time
        self,
        link: Link,
        *,
        max_events: int,
        max_age_ms: int,
        rules: Mapping[str, Rule] | None = None,
        rate: Rate | None = None,
        prefix: str = names.PREFIX,
        replicas: int = 1,
        now_ms: Callable[[], int] | None = None,
    ) -> None:
        self.streams = Streams(link, replicas=replicas)
        self.side = Side(self.streams, prefix)
        self.clock = StoreClock()
        self.now_ms = now_ms or self.clock.now_ms
        self._retention = Retention(max_events, max_age_ms, rules)
        self._tokens = Tokens(secrets.token_hex(6))
        self._journals: OrderedDict[ChannelName, Journal] = OrderedDict()  # the last used last
        self._sweep = Sweep(self.streams, f"{prefix}-log-", self._tidy)
        self._queues = Queues(self, None if rate is None else pace(rate), self._tokens)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._queues.drain()
        try:
            async with self.streams.link.answered():
                await self.tend()
        except Unavailable:
            return  # the next process does it

    def append(self, draft: Draft) -> asyncio.Future[Appended]:
        return self.write(draft)

    def write(self, work: Work) -> asyncio.Future[Any]:
        """Write a reaction or a record, in the order of the drafts. The result is that of its kind."""
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def done(outcome: object) -> None:
            if answer.done():  # the caller has given up
                return
            if isinstance(outcome, Exception):
                answer.set_exception(outcome)
            else:
                answer.set_result(outcome)

        self._queues.put(work, None, done)
        return answer

    def submit(self, draft: Draft, sender: Sender, done: Done) -> None:
        self._queues.put(draft, sender, cast("Callable[[Outcome | Exception], None]", done))

    @property
    def crowded(self) -> bool:
        return self._queues.crowded

    async def fold(self, channel: ChannelName) -> Fold:
        """Return the channel as of now, within its bounds. Raises `Unavailable`."""
        return await self.journal(channel).latest(self._retention.of(channel), self.now_ms())

    async def read(self, channel: ChannelName, after: int, limit: int) -> Replay:
        fold = await self.fold(channel)
        start = after - fold.floor
        return Replay(fold.floor, fold.head, fold.events[start : start + limit] if start >= 0 else [])

    async def heads(self, channels: Sequence[ChannelName]) -> Mapping[ChannelName, Position] | None:
        if len(channels) > HEADS_AT_ONCE:
            return None
        async with self.streams.link.answered():
            heads = await asyncio.gather(*(self.journal(each).head() for each in channels))
        return dict(zip(channels, (head for head, _ in heads), strict=True))

    async def message(self, channel: ChannelName, id: MessageId) -> Message | Tombstone | None:
        return message_of(await self.fold(channel), id)

    async def history(self, channel: ChannelName, before: int | None, after: int | None, limit: int) -> Page:
        return page_of(await self.fold(channel), before, after, limit)

    def note(self, event: Event) -> None:
        """Remember the event with the channel's fold, if there is one; without it, nothing of the channel was told."""
        journal = self._journals.get(event.channel)
        if journal is None:
            return
        noted = journal.noted
        if noted is None or noted.epoch != event.epoch or noted.offset < event.offset:
            journal.noted = Position(event.epoch, event.offset)

    def journal(self, channel: ChannelName) -> Journal:
        """Return the channel's journal."""
        journal = self._journals.get(channel)
        if journal is None:
            journal = self._journals[channel] = Journal(channel, self.streams, self.side, self._tokens)
        self._journals.move_to_end(channel)
        return journal

    def bounds_of(self, channel: ChannelName) -> Bounds:
        """Return the channel's retention."""
        return self._retention.of(channel)

    async def run(self) -> None:
        """Measure the server's time, take dropped events out of the streams, and forget channels, until cancelled."""
        while True:
            with suppress(MaruError):  # then the next round does it
                await self._work()
            self._forget()
            await asyncio.sleep(TEND_S)

    async def _work(self) -> None:
        async with self.streams.link.answered():
            began = self.clock.began()
            self.clock.learn(began, await self.side.time())
        await self.tend()
        await self._sweep.step(asyncio.get_running_loop().time(), self.now_ms() - self._retention.least.age_ms)

    async def tend(self) -> None:
        """Take dropped events out of the streams, and texts that a replica has left there which ended meanwhile."""
        for name, journal in list(self._journals.items()):
            fold = journal.fold
            if fold is not None and (fold.texts or fold.floor > fold.purged):
                await self._tidy(name)

    async def _tidy(self, channel: ChannelName) -> None:
        """Take a channel's dropped events out of its stream."""
        await self.fold(channel)
        journal = self.journal(channel)
        async with self.streams.link.answered(), journal.lock:
            await journal.finish()
            await journal.purge(self.now_ms())

    def _forget(self) -> None:
        """Forget the channels that were not used for longest, over the bounds."""
        events = sum(len(journal.fold.events) for journal in self._journals.values() if journal.fold)
        for name, journal in list(self._journals.items()):
            if events <= FOLDED_EVENTS and len(self._journals) <= FOLDED_CHANNELS:
                return
            if not journal.lock.locked() and not self._queues.waits(name):
                events -= len(journal.fold.events) if journal.fold else 0
                del self._journals[name]
