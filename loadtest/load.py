"""The clients of one process of the swarm: they connect, talk, drop out and come back, and judge all that they hear."""

import asyncio
import random
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress

from loadtest.asyncio_client import AsyncioClient
from loadtest.frames import WireError
from loadtest.judge import Ack, ChannelRecord, Ledger, Verdict
from loadtest.plan import Counts, Plan
from loadtest.session import OUTBOX_LIMIT, Session
from loadtest.social import Social
from loadtest.target import Target
from loadtest.tokens import Tokens
from loadtest.traffic import Closed, Listener, Outgoing, Refused, Stage
from loadtest.wire import Json

IN_FLIGHT = 64
"""Clients of a process that may be connecting at the same time."""

ENTER_S = 15.0
"""The longest that a single attempt to connect may take."""

PAUSE_S = 0.1
LONGEST_PAUSE_S = 2.0
"""Between two attempts, doubling, each 50 to 150 %."""

ABSENCE_S = 1.0
"""A client that drops out comes back within this time, evenly spread."""

LOOKS_EVERY_S = 1.0
"""Between two checks for silent connections and for commands to repeat."""

POLL_S = 0.05
"""Between two checks whether all clients have heard everything."""

LATE_S = 5.0
"""A process that is this far behind its rate withholds messages: it cannot make the load that was asked for."""

CHOICES = 8
"""Clients that are tried, at random, to find one that is ready."""


class CountingListener(Listener):
    """Counts the events and acks of one client. `inform` is called when its session is ready."""

    __slots__ = ("_counts", "_load", "_ready_at", "inform")

    def __init__(self, load: "Load") -> None:
        self._load, self._counts = load, load.counts
        self._ready_at = 0.0
        self.inform: Callable[[], None]

    def ready(self) -> None:
        self._ready_at = self._load.now()
        self.inform()

    def heard(self, event: Json, *, live: bool) -> None:
        self._counts.delivered += 1
        if not live:
            self._counts.replayed += 1
            return
        self._load.social.saw(event)
        data = event.get("message", {}).get("data")
        if data is not None and data.get("clock") == self._load.plan.run:
            self._counts.to_reader.add(self._load.now() - data["at"])

    def acked(self, message: Outgoing, ack: Ack, *, duplicate: bool) -> None:
        self._counts.acked += 1
        if message.sent_at >= self._ready_at:  # else it was sent again: its time would be that of the absence
            self._counts.to_ack.add(self._load.now() - message.sent_at)
        self._load.ledger.add(ack)

    def refused(self, what: Outgoing | str, refusal: Refused) -> None:
        self._counts.refused += not refusal.retryable
        self._counts.note(f"{'channel:join' if isinstance(what, str) else 'message:send'}: {refusal.code}")

    def fault(self, verdict: Verdict, where: str) -> None:
        self._counts.examples.append(f"{verdict.value}: {where}")


class Load:
    """The clients of one process, and their run. `ledger` has the acks of their messages."""

    def __init__(self, plan: Plan, tokens: Tokens) -> None:
        self.plan = plan
        self.counts = Counts()
        self.ledger = Ledger()
        self.now = asyncio.get_running_loop().time  # monotonic, and the same for all processes of a machine
        self._target = Target.parse(plan.url)
        self._tls = ssl.create_default_context() if self._target.tls else None
        self._records = {plan.channel(number): ChannelRecord() for number in range(plan.channels)}
        self._entering = asyncio.Semaphore(IN_FLIGHT)
        self._random = random.Random(plan.first)
        self._group: asyncio.TaskGroup | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._clients = [self._client(plan.first + number, tokens) for number in range(plan.clients)]
        self.social = Social(plan, self._clients, self._random, self.now)

    def _client(self, number: int, tokens: Tokens) -> AsyncioClient:
        listener = CountingListener(self)
        names = self.plan.names(number)
        session = Session(self._target.header, lambda: tokens.of(number), names, self._records, listener)
        client = AsyncioClient(number, session, self)
        listener.inform = client.entered
        return client

    # Coming and going

    async def arrive(self) -> None:
        """Connect all clients.

        Raises `Refused` and `WireError` (in an `ExceptionGroup`), and `TimeoutError` with the obstacles in its text.
        """
        try:
            async with asyncio.timeout(self.plan.arrive_s), asyncio.TaskGroup() as group:
                for client in self._clients:
                    group.create_task(self._bring(client))
        except TimeoutError:
            inside = sum(client.session.stage is Stage.READY for client in self._clients)
            obstacles = ", ".join(f"{text} ({count})" for text, count in self.counts.problems.most_common(3))
            raise TimeoutError(
                f"{inside} of {self.plan.clients} clients of a process were in after {self.plan.arrive_s:.0f} s; "
                f"in the way: {obstacles or 'nothing, they are only slow'}"
            ) from None
        self.counts.arrived = len(self._clients)

    async def _bring(self, client: AsyncioClient) -> None:
        """Try until the client is ready; the caller has a deadline. Raises the refusals that no retry heals."""
        pause = PAUSE_S
        while True:
            wait = 0.0
            try:
                async with self._entering, asyncio.timeout(ENTER_S):
                    await client.enter(self._target, self._tls)
                return
            except Refused as problem:
                if not problem.retryable:
                    raise
                self.counts.note(str(problem))
                wait = problem.retry_after_s
            except (OSError, Closed) as problem:  # a TimeoutError is an OSError
                self.counts.note(str(problem) or type(problem).__name__)
            await asyncio.sleep(max(wait, pause) * self._random.uniform(0.5, 1.5))
            pause = min(2 * pause, LONGEST_PAUSE_S)

    def lost(self, client: AsyncioClient, problem: Exception | None) -> None:
        """Let a client come back that has dropped out, or was thrown out."""
        if problem is not None:
            self.counts.garbled += isinstance(problem, WireError)
            self.counts.note(str(problem) or type(problem).__name__)
        if self._group is not None:
            task = self._group.create_task(self._come_back(client))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _come_back(self, client: AsyncioClient) -> None:
        await asyncio.sleep(self._random.uniform(0.0, ABSENCE_S))
        began = self.now()
        await self._bring(client)
        self.counts.reconnects += 1
        self.counts.to_return.add(self.now() - began)

    # The run

    @asynccontextmanager
    async def living(self) -> AsyncIterator[None]:
        """Let clients that lose their connection come back while entered; at the end all vanish.

        Raises an `ExceptionGroup` when a client is refused for good.
        """
        async with asyncio.TaskGroup() as group:
            self._group = group
            watch = group.create_task(self._watch())
            try:
                yield
            finally:
                self._group = None
                for task in (watch, *self._tasks):
                    task.cancel()
                for client in self._clients:
                    client.drop()

    async def run(self) -> None:
        """Talk and drop out, for the plan's time; then wait until all messages are acked and all clients are back, or
        the plan's time for that is over."""
        await asyncio.gather(self._talk(), self._drop_out(), self.social.run())
        await self._until(lambda: not any(map(_pending, self._clients)))

    async def hear(self, heads: Mapping[str, Mapping[str, int]]) -> None:
        """Wait until every client has heard all events up to these heads, or the plan's time for that is over."""
        await self._until(lambda: not any(client.session.state.behind(heads) for client in self._clients))
        await self.social.finish(self.plan.settle_s)

    def judge(self, ledger: Ledger) -> Counts:
        """Compare everything that was heard with the acks of all processes; return the counts."""
        heads = ledger.heads()
        for client in self._clients:
            self.counts.unanswered += len(client.session.outbox)
            self.counts.absent += client.session.stage is not Stage.READY
            self.counts.tally.add(client.session.state.tally(heads))
        for record in self._records.values():
            self.counts.tally.add(record.tally)
        self.counts.tally.lost += ledger.misplaced(self._records)
        self.counts.people.add(self.social.tally)
        self.counts.examples.extend(self.social.examples)
        return self.counts

    async def _until(self, holds: Callable[[], bool]) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self.plan.settle_s):
                while not holds():  # noqa: ASYNC110  # thousands of clients; an event for each change would cost more
                    await asyncio.sleep(POLL_S)

    async def _talk(self) -> None:
        """Send at the plan's rate. A message that no client can send at its time is withheld, and not sent later."""
        began, count = self.now(), round(self.plan.rate * self.plan.seconds)
        for number in range(count):
            ahead = began + number / self.plan.rate - self.now()
            if ahead < -LATE_S:
                self.counts.withheld += 1
                continue
            await asyncio.sleep(max(0.0, ahead))
            self._say(number)
        await asyncio.sleep(max(0.0, began + self.plan.seconds - self.now()))

    def _say(self, number: int) -> None:
        client = self._ready_client()
        if client is None or len(client.session.outbox) >= OUTBOX_LIMIT:
            self.counts.withheld += 1
            return
        channel = self._random.choice(client.session.channels)
        text, key = "x" * self.plan.size, f"{self.plan.run}-{self.plan.first}-{number}"
        self.counts.sent += 1
        client.write(client.session.say(Outgoing(channel, key, text, self.plan.run, self.now())))

    async def _drop_out(self) -> None:
        """Drop clients at the plan's pace."""
        began = self.now()
        each_s = 60.0 / (self.plan.reconnect * len(self._clients)) if self.plan.reconnect else self.plan.seconds
        for number in range(1, int(self.plan.seconds / each_s) + 1):
            await asyncio.sleep(max(0.0, began + number * each_s - self.now()))
            if self.plan.reconnect and (client := self._ready_client()) is not None:
                client.drop()

    def _ready_client(self) -> AsyncioClient | None:
        """Return a client that is ready, at random; None if a few tries find none."""
        chosen = (self._random.choice(self._clients) for _ in range(CHOICES))
        return next((client for client in chosen if client.session.stage is Stage.READY), None)

    async def _watch(self) -> None:
        """Drop clients whose server has gone silent, and repeat the commands that were refused for now."""
        while True:
            await asyncio.sleep(LOOKS_EVERY_S)
            for client in self._clients:
                session = client.session
                if session.stage is Stage.READY and self.now() - client.heard_at > session.patience_s:
                    self.counts.silent += 1
                    client.drop()
                elif session.refusals:
                    client.write(session.retry())


def _pending(client: AsyncioClient) -> bool:
    return client.session.stage is not Stage.READY or bool(client.session.outbox)
