"""Drafts on their way into the journals: those of a channel in their order, many at once."""

import asyncio
import random
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from server.adapters.codec import DecodeError
from server.adapters.nats.appending import Acked
from server.adapters.nats.client import FAILURES
from server.adapters.nats.deciding import Deciding, Outcome, Tokens, Work
from server.adapters.nats.entries import Entry
from server.adapters.nats.fold import trim
from server.adapters.nats.journal import Journal
from server.adapters.nats.link import ANSWER_S
from server.adapters.nats.waiting import Planned, Waiting, away, out_of_order, unreadable
from server.domain.channels import ChannelName
from server.domain.drafts import Deletion, Sender
from server.domain.errors import MaruError, Overloaded, Unavailable
from server.domain.gcra import Pace
from server.domain.retention import Kept as Bounds

WAITING_LIMIT = 10_000
"""Drafts that may wait, of all channels together; then a draft is `Overloaded`."""

AT_ONCE = 256
"""Entries of a channel that are on their way to the server."""

SPARE = 64
"""Events over a channel's bound that its stream may hold for a while."""

SLACK_S = 0.1
"""Beyond the answers' deadline, for those that came."""

CONTENDED_S = 1.0
"""So long a replica takes others to write a channel, after it has met one that does."""

TURN_S = 0.004
"""At most so long a channel's next entries wait if other replicas write it, too: an equal chance for all of them."""


class Log(Protocol):
    """The part of the log that the queues need."""

    @property
    def now_ms(self) -> Callable[[], int]:
        """The store's time."""
        ...

    def journal(self, channel: ChannelName) -> Journal:
        """Return the channel's journal."""
        ...

    def bounds_of(self, channel: ChannelName) -> Bounds:
        """Return the channel's retention."""
        ...


class Queues:
    """The queues of all channels. A channel with drafts has a task, which ends with them."""

    def __init__(self, log: Log, pace: Pace | None, tokens: Tokens) -> None:
        self._log, self._pace, self._tokens = log, pace, tokens
        self._waiting: dict[ChannelName, deque[Waiting]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._count = 0

    @property
    def crowded(self) -> bool:
        """Whether half as many drafts wait as may."""
        return self._count > WAITING_LIMIT // 2

    def waits(self, channel: ChannelName) -> bool:
        """Say whether a draft of the channel waits or is being written."""
        return channel in self._waiting

    def put(self, work: Work, sender: Sender | None, done: Callable[[Outcome | Exception], None]) -> None:
        """Queue a draft, or refuse it at once."""
        waiting = Waiting(work, sender, done)
        if sender is not None and sender.failed:
            waiting.settle(out_of_order())
            return
        if self._count >= WAITING_LIMIT:
            waiting.settle(Overloaded("too many messages wait to be written"))
            return
        self._count += 1
        queue = self._waiting.get(work.channel)
        if queue is not None:
            queue.append(waiting)
            return
        self._waiting[work.channel] = queue = deque([waiting])
        task = asyncio.get_running_loop().create_task(self._run(work.channel, queue))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def drain(self) -> None:
        """Wait until no draft waits."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _run(self, channel: ChannelName, queue: deque[Waiting]) -> None:
        """Write the channel's drafts until there are none."""
        journal, refused = self._log.journal(channel), 0.0  # since when others have been faster
        loop = asyncio.get_running_loop()
        try:
            while queue:
                if not refused and loop.time() < journal.contended_until:
                    await asyncio.sleep(random.random() * TURN_S)  # noqa: S311  # no secret
                settled, error = await self._try(journal, queue)
                refused = 0.0 if settled else refused or loop.time()
                if error is None and refused and loop.time() - refused > ANSWER_S:
                    error = Unavailable("other replicas write to the channel all the time")
                if error is not None:
                    journal.doubtful = True
                    self._refuse(queue, error)
        finally:
            self._waiting.pop(channel, None)

    async def _try(self, journal: Journal, queue: deque[Waiting]) -> tuple[int, Exception | None]:
        """Make a step; return how many drafts were settled, or the error with which all that wait are to be refused."""
        batch = [queue[number] for number in range(min(AT_ONCE, len(queue)))]
        try:
            return await self._step(journal, batch, queue), None
        except (*FAILURES, MaruError, DecodeError) as failure:
            return 0, away(failure)
        except Exception as failure:  # noqa: BLE001  # a fault of the server: those who wait are to know
            return 0, failure

    def _refuse(self, queue: deque[Waiting], error: Exception) -> None:
        while queue:
            self._settle(queue, error)

    def _settle(self, queue: deque[Waiting], outcome: Outcome | Exception) -> None:
        """Tell the first draft of the queue its outcome."""
        waiting = queue.popleft()
        self._count -= 1
        waiting.settle(outcome)

    async def _step(self, journal: Journal, batch: Sequence[Waiting], queue: deque[Waiting]) -> int:
        """Write a batch, which is the beginning of the queue, or a part of it. Return how many drafts were settled."""
        bounds, ends = self._log.bounds_of(journal.name), asyncio.get_running_loop().time() + ANSWER_S
        async with asyncio.timeout_at(ends + SLACK_S):
            if journal.fold is None:
                await journal.latest(bounds, self._log.now_ms())  # may take longer than a draft waits
            async with journal.lock:
                plan = await self._plan(journal, batch)
                written = [planned.entry for planned in plan if planned.entry is not None]
                left = max(0.0, ends - asyncio.get_running_loop().time())
                acked = await journal.append(written, left) if written else Acked(0)
                if acked.stale or acked.lost:
                    journal.doubtful = True
                if acked.stale:
                    journal.contended_until = asyncio.get_running_loop().time() + CONTENDED_S
                settled = await self._tell(journal, plan, acked, queue)
        if acked.lost is not None:
            raise acked.lost
        await self._tidy(journal, bounds)
        return settled

    async def _tidy(self, journal: Journal, bounds: Bounds) -> None:
        """Drop events over the bounds, and now and then their entries."""
        async with journal.lock:
            if journal.fold is not None and not journal.doubtful:
                trim(journal.fold, bounds, self._log.now_ms())
                if journal.fold.floor - journal.fold.purged >= SPARE:
                    await journal.purge(self._log.now_ms())

    async def _plan(self, journal: Journal, batch: Sequence[Waiting]) -> list[Planned]:
        """Decide the drafts; those that are not written, from the stream as it is now."""
        if journal.fold is None or journal.doubtful:
            await self._catch_up(journal)
            return self._decide(journal, batch)
        trim(journal.fold, self._log.bounds_of(journal.name), self._log.now_ms())
        plan = self._decide(journal, batch)
        if all(planned.entry is not None for planned in plan):
            return plan  # the server takes them only behind the fold's last entry
        await self._catch_up(journal)
        return self._decide(journal, batch)

    async def _catch_up(self, journal: Journal) -> None:
        fold = await journal.catch_up()
        trim(fold, self._log.bounds_of(journal.name), self._log.now_ms())

    def _decide(self, journal: Journal, batch: Sequence[Waiting]) -> list[Planned]:
        assert journal.fold is not None
        deciding = Deciding(journal.fold, self._pace, self._log.now_ms(), self._tokens)
        failed: set[Sender] = set()
        plan: list[Planned] = []
        for waiting in batch:
            outcome: Outcome | Exception
            entry: Entry | None = None
            try:
                if waiting.sender is not None and (waiting.sender.failed or waiting.sender in failed):
                    raise out_of_order()
                outcome, entry = deciding.decide(waiting.work)
            except (MaruError, DecodeError) as error:
                outcome = error if isinstance(error, MaruError) else unreadable(error)
                if waiting.sender is not None and outcome.retryable:
                    failed.add(waiting.sender)
            plan.append(Planned(waiting, outcome, entry))
        return plan

    async def _tell(self, journal: Journal, plan: Sequence[Planned], acked: Acked, queue: deque[Waiting]) -> int:
        """Tell the outcomes up to the first draft that was not written. A deletion is told once its text is gone."""
        left, settled = acked.written, 0
        for planned in plan:
            if planned.entry is not None:
                if not left:
                    return settled
                left -= 1
            work = planned.waiting.work
            if isinstance(work, Deletion) and journal.fold is not None and work.id in journal.fold.texts:
                await journal.erase(work.id)
            self._settle(queue, planned.outcome)
            settled += 1
        return settled
