"""The Python SDK while its server is killed and started again: nothing is lost, nothing is doubled."""

import asyncio

import pytest

from maru_backend import MaruBackend, Message
from tests.e2e.python_backend.conftest import client_of
from tests.harness.server import ServerProcess
from tests.harness.waiting import until

WRITERS, EACH, KILLS = 8, 15, (30, 80)
"""Loops that send, messages of each, and after how many answers the server is killed."""

CHANNELS, ROUNDS = 40, 12
"""Of the loop that broadcasts."""


async def texts_of(backend: MaruBackend, channel: str) -> list[str]:
    """Every text in the log, in order."""
    texts: list[str] = []
    after, more = 0, True
    while more:
        page = await backend.read_messages(channel, after=after, limit=100)
        messages = [each for each in page.messages if isinstance(each, Message)]
        texts += [each.text for each in messages]
        after, more = messages[-1].offset if messages else after, page.more
    return texts


class Progress:
    """Answers that have come."""

    def __init__(self) -> None:
        self.answers: list[str] = []
        self._changed = asyncio.Event()

    def note(self, answer: str) -> None:
        """One more."""
        self.answers.append(answer)
        self._changed.set()

    async def reach(self, count: int) -> None:
        """Wait until so many have come."""

        def problem() -> str:
            return f"{len(self.answers)} of {count} answers"

        await until(lambda: len(self.answers) >= count, self._changed, 60, problem)

    async def kills(self, server: ServerProcess, at: tuple[int, ...]) -> None:
        """Kill the server, and start it again, each time so many answers have come."""
        for count in at:
            await self.reach(count)
            await server.kill()
            await server.start()


@pytest.mark.asyncio(loop_scope="module")
async def test_sends_and_broadcasts_survive_kill_9(mortal: ServerProcess, name: str) -> None:
    """Eight loops send, and another broadcasts to forty channels, through two kills: each message is in the log once,
    in the order of its loop, and so is each broadcast in each channel."""
    channels = [f"{name}:{number}" for number in range(CHANNELS)]
    progress = Progress()
    async with client_of(mortal) as backend, asyncio.TaskGroup() as tasks:

        async def write(writer: int) -> None:
            for number in range(EACH):
                sent = await backend.post_message(name, f"w{writer}", f"{writer}/{number:02}")
                progress.note(sent.message.id)

        async def spread() -> None:
            for number in range(ROUNDS):
                result = await backend.broadcast(channels, "news", f"issue {number}")
                assert result.failed == ()
                progress.note(result.key)

        loops = [tasks.create_task(write(writer)) for writer in range(WRITERS)] + [tasks.create_task(spread())]
        await progress.kills(mortal, KILLS)
        await asyncio.wait(loops)
        texts = await texts_of(backend, name)
        for channel in channels[:: CHANNELS // 8]:
            assert await texts_of(backend, channel) == [f"issue {number}" for number in range(ROUNDS)]
    assert len(texts) == WRITERS * EACH
    assert len(set(progress.answers)) == len(progress.answers) == WRITERS * EACH + ROUNDS
    for writer in range(WRITERS):
        assert [text for text in texts if text.startswith(f"{writer}/")] == [f"{writer}/{n:02}" for n in range(EACH)]
