"""Many clients of four kinds in a few processes: what a deployment's users are, and what each of them saw."""

import asyncio
import itertools
import json
import os
import shutil
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Self

from tests.harness.server import ROOT
from tests.harness.tokens import token
from tests.harness.witness import Json

JS = ROOT / "tests/harness/crowd_members.mjs"

ENTER_S, ANSWER_S, EXIT_S = 60.0, 45.0, 20.0
LINE_BYTES = 1 << 22
"""A member's report holds all its acks."""

HEARD_MS = 20_000
"""In which everybody has heard what is in the log, once all is said."""

TALKERS_PER_QUIET = 5
"""One of so many talkers is in a quiet channel."""

EVERY_MS = 1_000
"""Between two messages of one talker."""


@dataclass(frozen=True, slots=True)
class Part:
    """So many clients of one kind, some of whom talk, in one process."""

    kind: str
    members: int
    talkers: int


@dataclass(frozen=True, slots=True)
class Member:
    """What one client saw: see `Witness`. `bare` clients have no core of ours: they miss what comes while they are
    away, and do not send again what was not answered."""

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


class Group:
    """One process with its clients."""

    def __init__(self, part: Part) -> None:
        self.part = part
        self.members: list[Member] = []
        self._answers: asyncio.Queue[str] = asyncio.Queue(1)
        self._process: asyncio.subprocess.Process | None = None
        self._tasks: list[asyncio.Task[Any]] = []
        self._complaints: deque[bytes] = deque(maxlen=50)

    async def start(self) -> None:
        """Start the process."""
        pipe = asyncio.subprocess.PIPE
        paths = os.pathsep.join((str(ROOT), str(ROOT / "clients/python-bot")))
        self._process = await asyncio.create_subprocess_exec(
            *self._command(),
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": paths},
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            limit=LINE_BYTES,
        )
        self._tasks = [asyncio.create_task(self._read()), asyncio.create_task(self._complain())]

    async def ask(self, answer: str, timeout: float, **command: object) -> None:
        """Give the process a command, and wait for its answer."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command).encode() + b"\n")
        if not answer:
            return
        try:
            async with asyncio.timeout(timeout):
                assert await self._answers.get() == answer
        except TimeoutError:
            raise AssertionError(f"{self.part}: not {answer} within {timeout} s; {self._said()}") from None

    async def end(self, kind: type[BaseException] | None, *_: object) -> None:
        """Close its input, and wait until it is gone; after a failure, kill it."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(EXIT_S if kind is None else 0):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
            assert kind is not None, f"{self.part}: did not end within {EXIT_S} s; {self._said()}"
        finally:
            await asyncio.gather(*self._tasks)

    def _command(self) -> Sequence[str]:
        match self.part.kind:
            case "core" | "bare":
                node = shutil.which("node")
                assert node is not None, "node not found: install nodejs"
                return node, str(JS)
            case kind:
                return sys.executable, "-m", f"tests.harness.crowd_{kind}s"

    async def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            report = json.loads(line)
            what = report.pop("is")
            if what == "member":
                self.members.append(Member(**report))
            else:
                await self._answers.put(what)

    async def _complain(self) -> None:
        assert self._process is not None
        assert self._process.stderr is not None
        async for line in self._process.stderr:
            self._complaints.append(line)

    def _said(self) -> str:
        return b"".join(self._complaints).decode(errors="replace")[-3000:]


class MixedCrowd:
    """All groups, in the given channels. Use as an async context manager: entering connects everybody.

    The first half of the channels is busy: four of five talkers are there, and nobody else. The second half is where
    those are who only listen.
    """

    def __init__(self, url: str, parts: Sequence[Part], channels: Sequence[str]) -> None:
        self._url = url
        half = len(channels) // 2
        self._busy, self._quiet = itertools.cycle(channels[:half]), itertools.cycle(channels[half:])
        self._groups = [Group(part) for part in parts]
        self._resources = AsyncExitStack()

    @property
    def size(self) -> int:
        """How many there are."""
        return sum(group.part.members for group in self._groups)

    @property
    def rate(self) -> float:
        """Messages a second."""
        return sum(group.part.talkers for group in self._groups) * 1000 / EVERY_MS

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as resources:
            for group in self._groups:
                await group.start()
                resources.push_async_exit(group.end)
            await asyncio.gather(*(self._enter(group) for group in self._groups))
            self._resources = resources.pop_all()
        return self

    async def __aexit__(self, *failure: Any) -> None:
        await self._resources.__aexit__(*failure)

    async def _enter(self, group: Group) -> None:
        kind, members = group.part.kind, self._members(group.part)
        await group.ask("entered", ENTER_S, do="enter", url=self._url, kind=kind, members=members)

    async def talk(self) -> None:
        """The talkers begin."""
        for group in self._groups:
            talkers = [_user(group.part, number) for number in range(group.part.talkers)]
            await group.ask("", 0.0, do="talk", talkers=talkers, every_ms=EVERY_MS)

    async def hush(self) -> None:
        """They stop; return when everything is answered."""
        await asyncio.gather(*(group.ask("hushed", ANSWER_S, do="hush") for group in self._groups))

    async def report(self, heads: Mapping[str, int]) -> list[Member]:
        """What everybody saw, once they have heard up to these offsets, or should have."""
        command = {"do": "report", "heads": dict(heads), "within_ms": HEARD_MS}
        await asyncio.gather(*(group.ask("reported", ANSWER_S, **command) for group in self._groups))
        return [member for group in self._groups for member in group.members]

    def _members(self, part: Part) -> list[Json]:
        """A group's members: first those who talk."""
        wanted = []
        for number in range(part.members):
            user = _user(part, number)
            busy = number < part.talkers and number % TALKERS_PER_QUIET != 0
            wanted.append({"user": user, "token": token(user), "channel": next(self._busy if busy else self._quiet)})
        return wanted


def _user(part: Part, number: int) -> str:
    return f"{part.kind}-{number}"
