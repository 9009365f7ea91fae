"""What people do beside talking: they mark what they have read, react, and look who is there."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from random import Random

from loadtest.asyncio_client import AsyncioClient
from loadtest.people import Marks, PeopleTally, ReactionBook, is_whole
from loadtest.plan import Plan
from loadtest.traffic import Question, Stage
from loadtest.wire import Json

RECENT = 32
"""Messages that are reacted to: the last ones that were seen."""

BUSY_LIMIT = 1_000
"""Questions under way; more are not asked."""

POLL_S = 0.05


class Social:
    """The acts of one process' clients, `plan.people` a second, and their judgement. `tally` has the counts, and
    `examples` a few faults."""

    def __init__(self, plan: Plan, clients: Sequence[AsyncioClient], random: Random, now: Callable[[], float]) -> None:
        self.tally = PeopleTally()
        self.examples: deque[str] = deque(maxlen=5)
        self._plan, self._clients, self._random, self._now = plan, clients, random, now
        self._marks = [Marks(self.tally) for _ in clients]
        self._book = ReactionBook(f"p{plan.first}", self.tally)
        self._recent: deque[tuple[str, str, int]] = deque(maxlen=RECENT)
        self._places: dict[tuple[str, str], int] = {}  # offsets of the messages that were reacted to
        self._under_way = 0

    def saw(self, event: Json) -> None:
        """Take note of a live event."""
        if self._plan.people and event.get("message", {}).get("version") == 1:
            self._recent.append((event["channel"], event["message"]["id"], event["offset"]))

    async def run(self) -> None:
        """Act for the plan's time."""
        if not self._plan.people:
            return
        began, number = self._now(), 0
        while (at := number / self._plan.people) < self._plan.seconds:
            await asyncio.sleep(max(0.0, began + at - self._now()))
            number += 1
            client = self._random.randrange(len(self._clients))
            if self._clients[client].session.stage is Stage.READY and self._under_way < BUSY_LIMIT:
                self._act(number % 3, client)

    def _act(self, kind: int, client: int) -> None:
        session = self._clients[client].session
        channel = self._random.choice(session.channels)
        if kind == 0:
            self._mark(client, channel, last=False)
        elif kind == 1 and self._recent:
            self._react(client, *self._random.choice(self._recent))
        else:
            self._ask(client, "presence:read", {"channel": channel}, lambda _: None)

    async def finish(self, settle_s: float) -> None:
        """Compare the end with all that was done, once everybody has heard everything."""
        if not self._plan.people:
            return
        for client, each in enumerate(self._clients):
            for channel in each.session.channels:
                self._mark(client, channel, last=True)
        for (channel, id), offset in self._places.items():
            self._judge(channel, id, offset)
        deadline = self._now() + settle_s
        await self._answered(deadline)
        for number in range(self._plan.channels):
            await self._look(self._plan.channel(number), self._plan.members(number), deadline)
        if self._under_way:
            self.examples.append(f"{self._under_way} questions about people were not answered in {settle_s} s")
            self.tally.rosters += 1

    async def _answered(self, deadline: float) -> None:
        while self._under_way and self._now() < deadline:  # noqa: ASYNC110  # thousands; an event for each would cost more
            await asyncio.sleep(POLL_S)

    def _mark(self, client: int, channel: str, *, last: bool) -> None:
        position = self._clients[client].session.state.position(channel)
        if position is None or (last and not position["offset"]):
            return
        offset = position["offset"]
        judge = partial(self._marked, client, channel, offset if last else 0)
        self._ask(client, "read:mark", {"channel": channel, "offset": offset}, judge)

    def _marked(self, client: int, channel: str, read: int, answer: Json) -> None:
        if not self._marks[client].answered(channel, answer, read=read):
            self.examples.append(f"{channel}: a mark at {read or 'some offset'} was answered {answer}")

    def _react(self, client: int, channel: str, id: str, offset: int) -> None:
        wanted = self._book.asked(channel, id, client)
        self._places[(channel, id)] = offset
        name = "reaction:add" if wanted else "reaction:remove"
        body = {"channel": channel, "id": id, "emoji": self._book.emoji}
        self._ask(client, name, body, partial(self._book.answered, channel, id, client, wanted))

    async def _look(self, channel: str, members: int, deadline: float) -> None:
        """Read a roster until it is whole: it follows its channel by some moments."""
        seen = -1

        def judge(answer: Json) -> None:
            nonlocal seen
            seen = members if is_whole(answer, members) else answer.get("count", -1)

        while (client := self._somebody_in(channel)) is not None:
            self._ask(client, "presence:read", {"channel": channel}, judge)
            await self._answered(deadline)
            if seen == members:
                self.tally.answers += 1
                return
            if self._now() >= deadline:
                self.tally.rosters += 1
                self.examples.append(f"{channel}: {members} members, presence:read says {seen}")
                return
            await asyncio.sleep(POLL_S)

    def _judge(self, channel: str, id: str, offset: int) -> None:
        def judge(answer: Json) -> None:
            for message in answer.get("messages", []):
                if message["id"] == id and not self._book.judge(channel, message):
                    self.examples.append(f"{channel}: reactions of offset {offset}: {message['reactions']}")

        body = {"channel": channel, "after": offset - 1, "before": offset + 1, "limit": 1}
        if (client := self._somebody_in(channel)) is not None:
            self._ask(client, "history:read", body, judge)

    def _somebody_in(self, channel: str) -> int | None:
        ready = (each for each in enumerate(self._clients) if each[1].session.stage is Stage.READY)
        return next((number for number, client in ready if channel in client.session.channels), None)

    def _ask(self, client: int, name: str, payload: Json, judge: Callable[[Json], None]) -> None:
        each = self._clients[client]
        self._under_way += 1

        def answered(answer: Json) -> None:
            self._under_way -= 1
            judge(answer)

        def lost() -> None:
            self._under_way -= 1

        each.write(each.session.ask(Question(name, payload, answered, lost)))
