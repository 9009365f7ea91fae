"""The clients of one process of the swarm: they come, talk, drop out and come back; and what they heard is judged."""

import asyncio
import random
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress

from loadtest.client import Client
from loadtest.frames import WireError
from loadtest.judge import Ack, Ledger, Story, Verdict
from loadtest.plan import Counts, Plan
from loadtest.session import OUTBOX_LIMIT, Session
from loadtest.target import Target
from loadtest.tokens import Tokens
from loadtest.traffic import Closed, Listener, Outgoing, Refused, Stage
from loadtest.wire import Json

IN_FLIGHT = 64
"""Clients of a process that are on their way in at a time."""

ENTER_S = 15.0
"""How long one try to get in may take."""

PAUSE_S = 0.1
LONGEST_PAUSE_S = 2.0
"""Between two tries, doubling, each 50 to 150 %."""

ABSENCE_S = 1.0
"""A client that drops out comes back within this time, evenly spread."""

LOOKS_EVERY_S = 1.0
"""Between two looks at who hears nothing any more, and at what is to be tried again."""

POLL_S = 0.05
"""Between two looks at whether all clients have heard all."""

LATE_S = 5.0
"""A process that is so far behind its rate sends no more: it can't make the load that was asked for."""

CHOICES = 8
"""Clients that are looked at for one who can talk, or drop out."""


class Ear(Listener):
    """What one client hears, counted with what the others hear. `inform` is called when its session is ready."""

    __slots__ = ("_counts", "_crowd", "_ready_at", "inform")

    def __init__(self, crowd: "Crowd") -> None:
        self._crowd, self._counts = crowd, crowd.counts
        self._ready_at = 0.0
        self.inform: Callable[[], None]

    def ready(self) -> None:
        self._ready_at = self._crowd.now()
        self.inform()

    def heard(self, event: Json, *, live: bool) -> None:
        self._counts.delivered += 1
        if not live:
            self._counts.replayed += 1
            return
        data = event.get("message", {}).get("data")
        if data is not None and data.get("clock") == self._crowd.plan.run:
            self._counts.to_reader.add(self._crowd.now() - data["at"])

    def acked(self, message: Outgoing, ack: Ack) -> None:
        self._counts.acked += 1
        if message.sent_at >= self._ready_at:  # else it was sent again, and its time is that of the absence
            self._counts.to_ack.add(self._crowd.now() - message.sent_at)
        self._crowd.ledger.add(ack)

    def refused(self, refusal: Refused) -> None:
        self._counts.refused += not refusal.retryable
        self._counts.note(f"message:send: {refusal.code}")

    def fault(self, verdict: Verdict, where: str) -> None:
        self._counts.examples.append(f"{verdict.value}: {where}")


class Crowd:
    """The clients of one process. `ledger` has the acks of its own messages."""

    def __init__(self, plan: Plan, tokens: Tokens) -> None:
        self.plan = plan
        self.counts = Counts()
        self.ledger = Ledger()
        self.now = asyncio.get_running_loop().time  # monotonic; on one machine the same for all processes
        self._target = Target.parse(plan.url)
        self._tls = ssl.create_default_context() if self._target.tls else None
        self._stories = {plan.channel(number): Story() for number in range(plan.channels)}
        self._doors = asyncio.Semaphore(IN_FLIGHT)
        self._random = random.Random(plan.first)
        self._group: asyncio.TaskGroup | None = None
        self._chores: set[asyncio.Task[None]] = set()
        self._clients = [self._client(plan.first + number, tokens) for number in range(plan.clients)]

    def _client(self, number: int, tokens: Tokens) -> Client:
        ear = Ear(self)
        names = self.plan.names(number)
        session = Session(self._target.header, lambda: tokens.of(number), names, self._stories, ear)
        client = Client(number, session, self)
        ear.inform = client.entered
        return client

    # Coming and going

    async def arrive(self) -> None:
        """Bring all of them in. Raises `Refused` and `WireError` (in an `ExceptionGroup`), and `TimeoutError` that says
        what was in the way."""
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

    async def _bring(self, client: Client) -> None:
        """Try until it is in; whoever calls has a deadline. Raises what no retry heals."""
        pause = PAUSE_S
        while True:
            wait = 0.0
            try:
                async with self._doors, asyncio.timeout(ENTER_S):
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

    def lost(self, client: Client, problem: Exception | None) -> None:
        """Let one come back that has dropped out, or was thrown out."""
        if problem is not None:
            self.counts.garbled += isinstance(problem, WireError)
            self.counts.note(str(problem) or type(problem).__name__)
        if self._group is not None:
            chore = self._group.create_task(self._come_back(client))
            self._chores.add(chore)
            chore.add_done_callback(self._chores.discard)

    async def _come_back(self, client: Client) -> None:
        await asyncio.sleep(self._random.uniform(0.0, ABSENCE_S))
        began = self.now()
        await self._bring(client)
        self.counts.reconnects += 1
        self.counts.to_return.add(self.now() - began)

    # The run

    @asynccontextmanager
    async def living(self) -> AsyncIterator[None]:
        """While entered, clients that lose their connection come back; at the end all vanish. Raises an
        `ExceptionGroup` when one is refused for good."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            watch = group.create_task(self._watch())
            try:
                yield
            finally:
                self._group = None
                for chore in (watch, *self._chores):
                    chore.cancel()
                for client in self._clients:
                    client.drop()

    async def run(self) -> None:
        """Talk and drop out, for the plan's time; then wait until all is acked and all are back, or the
        plan has no more time for that."""
        await asyncio.gather(self._talk(), self._drop_out())
        await self._until(lambda: not any(map(_pending, self._clients)))

    async def hear(self, heads: Mapping[str, Mapping[str, int]]) -> None:
        """Wait until everybody has heard what is known to exist, as long as the plan has time for that."""
        await self._until(lambda: not any(client.session.standing.behind(heads) for client in self._clients))

    def judge(self, ledger: Ledger) -> Counts:
        """Hold what was heard against all acks of all processes; return what happened."""
        heads = ledger.heads()
        for client in self._clients:
            self.counts.unanswered += len(client.session.outbox)
            self.counts.absent += client.session.stage is not Stage.READY
            self.counts.tally.add(client.session.standing.tally(heads))
        for story in self._stories.values():
            self.counts.tally.add(story.tally)
        self.counts.tally.lost += ledger.misplaced(self._stories)
        return self.counts

    async def _until(self, holds: Callable[[], bool]) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self.plan.settle_s):
                while not holds():  # noqa: ASYNC110  # thousands of clients; an event for each change would cost more
                    await asyncio.sleep(POLL_S)

    async def _talk(self) -> None:
        """Send at the plan's rate. What nobody can send at its time is withheld, and not sent later."""
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
        client = self._anybody()
        if client is None or len(client.session.outbox) >= OUTBOX_LIMIT:
            self.counts.withheld += 1
            return
        channel = self._random.choice(client.session.channels)
        text, key = "x" * self.plan.size, f"{self.plan.run}-{self.plan.first}-{number}"
        self.counts.sent += 1
        client.write(client.session.say(Outgoing(channel, key, text, self.plan.run, self.now())))

    async def _drop_out(self) -> None:
        """Let clients vanish at the plan's pace."""
        began = self.now()
        each_s = 60.0 / (self.plan.reconnect * len(self._clients)) if self.plan.reconnect else self.plan.seconds
        for number in range(1, int(self.plan.seconds / each_s) + 1):
            await asyncio.sleep(max(0.0, began + number * each_s - self.now()))
            if self.plan.reconnect and (client := self._anybody()) is not None:
                client.drop()

    def _anybody(self) -> Client | None:
        """Somebody who is in; None where a few looks find nobody."""
        chosen = (self._random.choice(self._clients) for _ in range(CHOICES))
        return next((client for client in chosen if client.session.stage is Stage.READY), None)

    async def _watch(self) -> None:
        """Look after clients that hear nothing any more, and try again what was refused for now."""
        while True:
            await asyncio.sleep(LOOKS_EVERY_S)
            for client in self._clients:
                session = client.session
                if session.stage is Stage.READY and self.now() - client.heard_at > session.patience_s:
                    self.counts.silent += 1
                    client.drop()
                elif session.refusals:
                    client.write(session.retry())


def _pending(client: Client) -> bool:
    return client.session.stage is not Stage.READY or bool(client.session.outbox)
