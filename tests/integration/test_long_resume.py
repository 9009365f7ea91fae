"""Coming back to much: a long resume is paced to its reader, and what is too much is said so."""

import asyncio
from typing import Any

import aiohttp
import pytest
import socketio

from tests.harness.server import ServerProcess
from tests.harness.tokens import token

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHANNELS = [f"room:long-{number}" for number in range(4)]
MESSAGES = 400
TEXT = "x" * 1_000
IN_FLIGHT = 64


async def connect(http: aiohttp.ClientSession, url: str, auth: dict[str, Any]) -> tuple[Any, asyncio.Queue[Any]]:
    """A python-socketio client, and what it is told in order."""
    client = socketio.AsyncClient(http_session=http, reconnection=False, handle_sigint=False)
    told: asyncio.Queue[Any] = asyncio.Queue()
    for name in ("channel:resumed", "channel:removed", "session:ready"):
        client.on(name, lambda body, name=name: told.put_nowait((name, body)), namespace="/chat")
    await client.connect(url, namespaces=["/chat"], transports=["websocket"], auth=auth)
    return client, told


async def fill(client: Any, channel: str, count: int) -> None:
    """Write messages, some at a time."""
    slots = asyncio.Semaphore(IN_FLIGHT)

    async def send() -> None:
        async with slots:
            ack = await client.call("message:send", {"channel": channel, "text": TEXT}, namespace="/chat")
            assert ack["ok"], ack

    async with asyncio.TaskGroup() as sending:
        for _ in range(count):
            sending.create_task(send())


async def test_a_resume_of_several_mebibytes_arrives_whole(server: ServerProcess) -> None:
    """More than may ever wait for one client, in several channels: none of it is lost, and nobody is closed as slow;
    a channel that alone is over a replay's bytes is `too_far_behind`."""
    async with aiohttp.ClientSession() as http:
        writer, _ = await connect(http, server.url, {"token": token("writer")})
        epochs = {}
        for channel in CHANNELS:
            joined = await writer.call("channel:join", {"channel": channel}, namespace="/chat")
            epochs[channel] = joined["epoch"]
            await fill(writer, channel, 2 * MESSAGES if channel == CHANNELS[-1] else MESSAGES)
        resume = {channel: {"epoch": epochs[channel], "offset": 0} for channel in CHANNELS}
        reader, told = await connect(http, server.url, {"token": token("reader"), "resume": resume})
        async with asyncio.timeout(20):
            replies = [await told.get() for _ in range(len(CHANNELS) + 1)]
        assert [name for name, _ in replies] == ["channel:resumed"] * len(CHANNELS) + ["session:ready"]
        for channel, (_, body) in zip(CHANNELS[:-1], replies, strict=False):
            assert (body["channel"], body["recovered"], body["offset"]) == (channel, True, MESSAGES)
            assert [event["offset"] for event in body["events"]] == [*range(1, MESSAGES + 1)]
        last = replies[len(CHANNELS) - 1][1]
        assert (last["recovered"], last["reason"], last["events"]) == (False, "too_far_behind", [])
        for client in (writer, reader):
            await client.disconnect()
    await server.settled(connections=0)
