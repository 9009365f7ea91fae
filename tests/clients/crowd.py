"""Many clients of four kinds, each kind in a process of its own: the users of a deployment, and the account of each."""

import asyncio
import itertools
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Self

from tests.clients.javascript import node
from tests.harness.program import Json, Program
from tests.harness.server import ROOT
from tests.harness.tokens import token

SCRIPT = ROOT / "tests/clients/crowd.mjs"

ENTER_S, ANSWER_S = 60.0, 45.0

HEARD_MS = 20_000
"""The longest that anybody may take to hear the whole log, once the talk has ended."""

QUIET_TALKER = 5
"""Every fifth talker is in a quiet channel."""

EVERY_MS = 1_000
"""Between two messages of a talker."""


@dataclass(frozen=True, slots=True)
class Part:
    """A number of clients of one kind, some of whom talk, in one process.

    Kinds: `core` (our JavaScript core), `bare` (socket.io-client alone), `bot` (our Python bot), `socket` (`Member`).
    """

    kind: str
    members: int
    talkers: int

    def user(self, number: int) -> str:
        """The name of a member."""
        return f"{self.kind}-{number}"

    def program(self) -> Program:
        """The process, which has not been started."""
        if self.kind in {"core", "bare"}:
            return Program(*node(SCRIPT))
        return Program(sys.executable, "-m", "tests.clients.crowd_process")


@dataclass(frozen=True, slots=True)
class Report:
    """The report of a client's `Witness`.

    `bare` clients have no core of ours: they miss events while they are away, and do not repeat unanswered messages.
    """

    user: str
    kind: str
    channel: str
    first: int
    last: int
    count: int
    digest: str
    sent: int
    faults: Sequence[str]
    acks: Mapping[str, int]
    failed: Mapping[str, int]
    attempts: Sequence[float]
    gap: float
    gap_at: float

    @property
    def resumes(self) -> bool:
        """Whether it promises its application every event."""
        return self.kind != "bare"


class Crowd:
    """All parts, in the given channels. Use as an async context manager: entering connects everybody.

    The first half of the channels is busy: four of five talkers are there, and nobody else. The second half has the
    other talkers and all mere listeners.
    """

    def __init__(self, url: str, parts: Sequence[Part], channels: Sequence[str]) -> None:
        self._url = url
        half = len(channels) // 2
        self._busy, self._quiet = itertools.cycle(channels[:half]), itertools.cycle(channels[half:])
        self._programs = {part: part.program() for part in parts}
        self._resources = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as resources:
            for program in self._programs.values():
                await resources.enter_async_context(program)
            await self._all(self._enter, ENTER_S)
            self._resources = resources.pop_all()
        return self

    async def __aexit__(self, *failure: Any) -> None:
        await self._resources.__aexit__(*failure)

    async def talk(self) -> None:
        """Let the talkers begin."""
        await self._all(_talk, ANSWER_S)

    async def hush(self) -> None:
        """Let them stop; return when everything is answered."""
        await self._all(lambda _: {"do": "hush"}, ANSWER_S)

    async def report(self, heads: Mapping[str, int]) -> list[Report]:
        """Return everybody's account, once all have heard up to these offsets, or their time for that is over."""
        answers = await self._all(lambda _: {"do": "report", "heads": dict(heads), "within_ms": HEARD_MS}, ANSWER_S)
        return [Report(**report) for answer in answers for report in answer["members"]]

    async def _all(self, order: Callable[[Part], Json], timeout: float) -> list[Json]:
        return await asyncio.gather(*(program.ask(order(part), timeout) for part, program in self._programs.items()))

    def _enter(self, part: Part) -> Json:
        return {"do": "enter", "url": self._url, "kind": part.kind, "members": self._members(part)}

    def _members(self, part: Part) -> list[Json]:
        """Name a part's members, the talkers first."""
        wanted = []
        for number in range(part.members):
            user = part.user(number)
            busy = number < part.talkers and number % QUIET_TALKER != 0
            wanted.append({"user": user, "token": token(user), "channel": next(self._busy if busy else self._quiet)})
        return wanted


def _talk(part: Part) -> Json:
    return {"do": "talk", "talkers": [part.user(number) for number in range(part.talkers)], "every_ms": EVERY_MS}
