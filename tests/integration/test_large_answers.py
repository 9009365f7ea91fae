"""A client that reads, and asks for more than may wait for it, is given all of it; it is no slow reader."""

import asyncio

import pytest

from tests.clients.frames import masked
from tests.clients.raw import RawSocket, event
from tests.integration.conftest import Scene

pytestmark = pytest.mark.asyncio(loop_scope="module")

LOOPS = ["uvloop", "asyncio"]

MESSAGES = 98
"""Of 7.6 KB: a page of them has the most bytes that one answer may have."""


async def filled(scene: Scene, channel: str) -> None:
    """Fill a channel with a page of large messages."""
    writer = await scene.chat("writer")
    for _ in range(MESSAGES):
        assert (await writer.ask("message:send", {"channel": channel, "text": "x", "data": {"pad": "x" * 7_600}}))["ok"]
    await writer.leave()


async def pages(client: RawSocket, channel: str, count: int) -> None:
    """Ask for so many pages in one write, and read each, in order."""
    command = {"channel": channel, "limit": 100}
    client.push(b"".join(masked(event("history:read", command, ack=number)) for number in range(count)))
    for number in range(count):
        text = await client.text()
        assert text.startswith(f"43/chat,{number}[")
        assert len(text) > 700_000


@pytest.mark.parametrize("count", [2, 4, 10])
async def test_several_pages_at_once(scene: Scene, count: int) -> None:
    """Each is answered, also to several clients at a time."""
    channel = f"room:pages-{count}"
    await filled(scene, channel)
    clients = [await scene.chat("reader") for _ in range(3)]
    await asyncio.gather(*(pages(client, channel, count) for client in clients))
    for client in clients:
        await client.leave()
    await scene.clean()


async def test_several_pages_in_a_channel_that_goes_on(scene: Scene) -> None:
    """Events of the channel come between the pages."""
    channel = "room:pages-live"
    await filled(scene, channel)
    writer, client = await scene.chat("writer"), await scene.chat("reader")
    await client.ask("channel:join", {"channel": channel})
    client.push(b"".join(masked(event("history:read", {"channel": channel}, ack=number)) for number in range(20, 24)))
    for number in range(20):
        assert (await writer.ask("message:send", {"channel": channel, "text": str(number)}))["ok"]
    for number in range(20, 24):
        assert (await client.ack(number))["ok"]
    texts = [event["message"]["text"] for event in await client.events("message:created", 20)]
    assert texts == [str(number) for number in range(20)]
    for each in (writer, client):
        await each.leave()
    await scene.clean()


async def test_several_joins_with_history_at_once(scene: Scene) -> None:
    """Answers from memory are paced like those from the log."""
    channel = "room:pages-joins"
    await filled(scene, channel)
    client = await scene.chat("reader")
    join = {"channel": channel, "history": 100}
    client.push(b"".join(masked(event("channel:join", join, ack=number)) for number in range(10)))
    for number in range(10):
        text = await client.text()
        assert text.startswith(f"43/chat,{number}[")
        assert len(text) > 200_000
    await client.leave()
    await scene.clean()
