"""A crowd of Python clients in one process, driven by JSON lines as `crowd_members.mjs` is."""

import asyncio
import json
import random
import sys
from collections.abc import AsyncIterator, Callable
from typing import Protocol

import uvloop

from tests.harness.witness import Json, Witness

ACKED_S = 20.0
"""For what is unanswered when the talk ends."""

ENTER_AT_ONCE = 50


class Member(Protocol):
    """One client."""

    witness: Witness

    async def enter(self) -> None:
        """Connect and join; return when everything that is sent from now on will be heard."""

    async def send(self, key: str, text: str) -> int:
        """Send until it is acked; return the offset."""

    async def leave(self) -> None:
        """Go away."""


Make = Callable[[str, Json], Member]
"""A member at a URL, from what `enter` says of it."""


class Crowd:
    """Does what the lines say."""

    def __init__(self, make: Make) -> None:
        self._make = make
        self._members: list[Member] = []
        self._over = asyncio.Event()
        self._talking: list[asyncio.Task[None]] = []

    async def enter(self, command: Json) -> None:
        """Connect all, some at a time."""
        self._members = [self._make(command["url"], wanted) for wanted in command["members"]]
        for begin in range(0, len(self._members), ENTER_AT_ONCE):
            await asyncio.gather(*(member.enter() for member in self._members[begin : begin + ENTER_AT_ONCE]))
        say({"is": "entered"})

    async def talk(self, command: Json) -> None:
        """Each talker sends at its own pace, whether or not the last message is answered."""
        for member in self._members:
            member.witness.listen()
            if member.witness.user in command["talkers"]:
                self._talking.append(asyncio.create_task(self._talk(member, command["every_ms"] / 1000)))

    async def hush(self, _: Json) -> None:
        """No more; return when all is answered."""
        self._over.set()
        for member in self._members:
            member.witness.silence_ends(for_good=True)
        if self._talking:
            await asyncio.wait(self._talking, timeout=ACKED_S)
        say({"is": "hushed"})

    async def report(self, command: Json) -> None:
        """Everything about everybody, once all have heard everything, or the time is up."""
        try:
            async with asyncio.timeout(command["within_ms"] / 1000):
                for member in self._members:
                    await _reached(member.witness, command["heads"][member.witness.channel])
        except TimeoutError:
            pass  # what is missing shows in the report
        for member in self._members:
            say(member.witness.report())
        say({"is": "reported"})

    async def leave(self) -> None:
        """Everybody goes."""
        for task in self._talking:
            task.cancel()
        await asyncio.gather(*(member.leave() for member in self._members))

    async def _talk(self, member: Member, every_s: float) -> None:
        pause = random.random() * every_s
        async with asyncio.TaskGroup() as sends:
            while not await _happens(self._over, pause):
                sends.create_task(_send(member))
                pause = every_s


async def _send(member: Member) -> None:
    key, text = member.witness.message()
    try:
        member.witness.acks[key] = await member.send(key, text)
    except Exception as error:  # noqa: BLE001  # whatever it is, it stands in the report
        member.witness.failed[str(getattr(error, "code", repr(error)))] += 1


async def _happens(event: asyncio.Event, within_s: float) -> bool:
    try:
        async with asyncio.timeout(within_s):
            await event.wait()
    except TimeoutError:
        return False
    return True


async def _reached(witness: Witness, offset: int) -> None:
    while witness.last < offset:
        witness.heard.clear()
        await witness.heard.wait()


def say(line: Json) -> None:
    """One line out."""
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


async def _lines() -> AsyncIterator[Json]:
    reader = asyncio.StreamReader(limit=1 << 24)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async for line in reader:
        yield json.loads(line)


def serve(make: Make) -> None:
    """Be a crowd, until the input ends."""
    uvloop.run(_run(make))


async def _run(make: Make) -> None:
    crowd = Crowd(make)
    async for command in _lines():
        await getattr(crowd, command["do"])(command)
    await crowd.leave()
