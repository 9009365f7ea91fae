"""A client on a slow line is given all that it asks for, beside the events of a busy channel; it is no slow reader."""

import asyncio
from typing import Any

import pytest

from tests.clients.frames import masked
from tests.clients.raw import RawSocket, event
from tests.harness.tokens import token
from tests.harness.waiting import pause
from tests.integration.conftest import Scene

pytestmark = pytest.mark.asyncio(loop_scope="module")

RATE = 500_000
"""Bytes in a second that a slow client reads: a poor mobile line."""

PIECE = 16 * 1024
MESSAGES = 98
"""Of 7.6 KB: a page of them has the most bytes that one answer may have."""

RESUMED = 30
"""Messages that fit in one channel's part of a resume."""

CHANNELS = [f"room:line-{number}" for number in range(3)]
BUSY = "room:line-busy"
EVENTS = 40


class SlowSocket(RawSocket):
    """Reads without a stop, but slowly."""

    async def frame(self, timeout: float = 30.0) -> Any:
        """Read a piece, then wait as long as the line would take for it."""
        never = asyncio.Event()
        while not self._arrived:
            data = await self._reader.read(PIECE)
            assert data, "the server has closed the connection"
            self._arrived += self._frames.feed(data)
            await pause(never, len(data) / RATE)
        return await super().frame(timeout)


async def ask_at_once(client: SlowSocket, name: str, commands: list[dict[str, Any]]) -> None:
    """Send several commands in one write, and read their answers, in order, in all over a mebibyte."""
    client.push(b"".join(masked(event(name, command, ack=1_000 + n)) for n, command in enumerate(commands)))
    size = 0
    for n in range(len(commands)):
        text = await client._wanted(f"43/chat,{1_000 + n}[", 30.0)  # noqa: SLF001  # the size is the point
        assert '"ok":true' in text
        size += len(text)
    assert size > 1 << 20


async def resumed(scene: Scene, positions: dict[str, Any]) -> None:
    """Come back to several channels, and be told what was missed in each."""
    client = await SlowSocket.chat(scene.server.port, token("reader"), positions, receive_buffer=PIECE)
    for channel in positions:
        body = await client.event("channel:resumed")
        assert (body["channel"], body["recovered"], len(body["events"])) == (channel, True, RESUMED)
    await client.leave()


async def members(scene: Scene, count: int) -> list[SlowSocket]:
    """Connect slow clients that are in the busy channel."""
    clients = []
    for _ in range(count):
        client = await SlowSocket.chat(scene.server.port, token("reader"), receive_buffer=PIECE)
        assert (await client.ask("channel:join", {"channel": BUSY}))["ok"]
        clients.append(client)
    return clients


async def send(writer: RawSocket, channel: str, count: int) -> dict[str, Any]:
    """Send large messages; return the last answer."""
    answer: dict[str, Any] = {}
    for _ in range(count):
        answer = await writer.ask("message:send", {"channel": channel, "text": "x", "data": {"pad": "x" * 7_600}})
        assert answer["ok"]
    return answer


async def test_what_a_client_asks_for_is_paced(scene: Scene) -> None:
    """Pages, joins with history, a resume, and many answers of a middle size: each in several parts, all at once."""
    writer = await scene.chat("writer")
    last = {channel: await send(writer, channel, MESSAGES) for channel in CHANNELS}
    positions = {
        channel: {"epoch": answer["epoch"], "offset": answer["offset"] - RESUMED} for channel, answer in last.items()
    }
    pages, joins, middle = await members(scene, 3)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(ask_at_once(pages, "history:read", [{"channel": CHANNELS[0], "limit": 100}] * 2))
        tasks.create_task(ask_at_once(joins, "channel:join", [{"channel": c, "history": 100} for c in 2 * CHANNELS]))
        tasks.create_task(ask_at_once(middle, "history:read", [{"channel": CHANNELS[0], "limit": 6}] * 24))
        tasks.create_task(resumed(scene, positions))
        await send(writer, BUSY, EVENTS)
    for client in (pages, joins, middle):
        offsets = [body["offset"] for body in await client.events("message:created", EVENTS)]
        assert offsets == list(range(1, EVENTS + 1))
        await client.leave()
    await writer.leave()
    await scene.clean()
