"""Our clients at the default limits, with more to send than these allow: everything arrives, once, in order."""

import asyncio
from pathlib import Path

import pytest

from maru_bot.bot import MaruBot
from tests.clients.account import Outgoing
from tests.clients.bot import enter, take
from tests.clients.javascript import CoreJsClient
from tests.harness.scrape import scraped
from tests.harness.server import LIMITS, ServerProcess
from tests.harness.tokens import token

BACKLOG = 80
"""Messages: 50 pass at once, and 10 a second behind them."""

REFUSALS = 100
"""A session would be ended at twice as many."""


MANY = 450
"""Channels of a client: the joins of 200 pass at once, and 50 a second behind them."""


async def refusals(server: ServerProcess, command: str = "message:send") -> float:
    """How many commands were refused because of a rate."""
    wanted = f'maru_rate_limited_total{{command="{command}"'
    lines = (await scraped(server.internal_port)).splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(wanted))


@pytest.mark.parametrize("channels", [1, 40])
async def test_the_javascript_core(tmp_path: Path, channels: int) -> None:
    """Each channel keeps its order; the client waits as told, and longer, so that it is not ended."""
    async with ServerProcess(tmp_path, LIMITS) as server, CoreJsClient(server.url, token("core")) as client:
        names = [f"room:{number}" for number in range(channels)]
        for name in names:
            await client.join(name)
        messages = [Outgoing(names[n % channels], f"says {n}", f"key-{n}") for n in range(BACKLOG)]
        async with asyncio.timeout(60):
            await client.send_all(messages)
        for name in names:
            sent = [message.text for message in messages if message.channel == name]
            await client.heard(name, len(sent))
            assert [event["message"]["text"] for event in client.received[name]] == sent
        assert (client.connects, client.faults) == (1, [])
        assert 0 < await refusals(server) < REFUSALS


@pytest.mark.parametrize("channels", [1, 40])
async def test_the_python_bot(tmp_path: Path, channels: int) -> None:
    """The same."""
    async with ServerProcess(tmp_path, LIMITS) as server, MaruBot(server.url, token("bot")) as bot:
        names = [f"room:{number}" for number in range(channels)]
        rooms = [await enter(bot, name) for name in names]
        texts = [[f"says {n}" for n in range(BACKLOG) if n % channels == number] for number in range(channels)]
        async with asyncio.timeout(60), asyncio.TaskGroup() as sending:
            for name, said in zip(names, texts, strict=True):
                for text in said:
                    sending.create_task(bot.send(name, text))
        for room, said in zip(rooms, texts, strict=True):
            events = await take(room, len(said))
            assert [getattr(event, "text", None) for event in events] == said
        assert 0 < await refusals(server) < REFUSALS
        ends = [line for line in server.lines if line.get("event") == "connection.closed"]
        assert ends == []


@pytest.mark.parametrize("client", ["JavaScript", "Python"])
async def test_hundreds_of_new_channels(tmp_path: Path, client: str) -> None:
    """They are joined as fast as the rate allows, and those behind the first refusals wait with them."""
    names = [f"room:{number}" for number in range(MANY)]
    async with ServerProcess(tmp_path, LIMITS | {"MARU_MESSAGE_LOG": "memory"}) as server, asyncio.timeout(60):
        if client == "JavaScript":
            async with CoreJsClient(server.url, token("core")) as core:
                await asyncio.gather(*map(core.join, names))
                assert (core.connects, core.faults) == (1, [])
        else:
            async with MaruBot(server.url, token("bot")) as bot:
                await asyncio.gather(*(enter(bot, name) for name in names))
        assert 0 < await refusals(server, "channel:join") < REFUSALS * 3 / 2
        ends = [line["reason"] for line in server.lines if line.get("event") == "connection.closed"]
        assert not any("terminated" in reason for reason in ends)
