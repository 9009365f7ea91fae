"""The server dies, or is stopped, under load: what was acked is there once, and nobody missed or repeated anything."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.clients.account import Entry, Outgoing, entry
from tests.clients.group import Client, Group
from tests.clients.javascript import CoreJsClient
from tests.clients.python import PyClient
from tests.harness.proxy import Proxy
from tests.harness.server import ServerProcess
from tests.harness.tokens import token
from tests.harness.waiting import polled

CHANNELS = ("room:one", "room:two", "room:three")
MESSAGES_EACH = 720  # of four senders: just under a replay of 1,000 a channel, so that one join tells the whole log
REPLAY = 1_000
PAGE = 100
IN_FLIGHT = 16
KILLS = 5
DRAIN_S = 20.0


def messages_of(user: str) -> list[Outgoing]:
    """What one user says, taking turns through the channels."""
    return [
        Outgoing(CHANNELS[number % len(CHANNELS)], f"{user} says {number}", f"{user}-{number:05}")
        for number in range(MESSAGES_EACH)
    ]


async def gather(stack: AsyncExitStack, url: str) -> Group:
    """Connect two users on our JavaScript core, two on a plain python-socketio."""
    group = Group(url, CHANNELS)
    options: dict[str, Any] = {"backoffMinMs": 200, "backoffMaxMs": 500, "outboxLimit": MESSAGES_EACH}
    await group.enter(stack, "judith", group.core("judith", **options, inFlight=1))
    await group.enter(stack, "jan", group.core("jan", **options, inFlight=IN_FLIGHT))
    for user in ("paula", "pavel"):
        await group.enter(stack, user, group.python(user))
    return group


def speech(group: Group) -> Coroutine[Any, Any, None]:
    """Let everybody send everything; return when all of it is acked."""
    return group.speak({user: messages_of(user) for user in group.members}, IN_FLIGHT)


async def read_log(auditor: PyClient, channel: str) -> list[Entry]:
    """The channel's log, read twice: page by page through `history:read`, and at once through `channel:join`."""
    pages: list[Entry] = []
    more, after, head = True, 0, {}
    while more:
        ack = await auditor.ask("history:read", {"channel": channel, "after": after, "limit": PAGE})
        pages += map(entry, ack["messages"])
        more, after, head = ack["more"], pages[-1][0], {"epoch": ack["epoch"], "offset": ack["offset"]}
        assert len(pages) <= REPLAY
    since = {"epoch": head["epoch"], "offset": 0}
    joined = await auditor.ask("channel:join", {"channel": channel, "since": since})
    assert (joined["recovered"], joined["epoch"], joined["offset"]) == (True, head["epoch"], head["offset"])
    assert [event["event"] for event in joined["events"]] == ["message:created"] * head["offset"]
    assert [entry(event["message"]) for event in joined["events"]] == pages
    assert [offset for offset, *_ in pages] == list(range(1, head["offset"] + 1))
    return pages


async def check_log(group: Group, url: str) -> None:
    """Hold every client against the log, which has every message."""
    async with PyClient(url, token("auditor")) as auditor:
        for channel in CHANNELS:
            log = await read_log(auditor, channel)
            assert len(log) == MESSAGES_EACH * len(group.members) // len(CHANNELS)
            await group.check(channel, log)


async def everybody_is_back(group: Group, connects: int) -> None:
    """Wait until each client is connected for that time: the others may have said much before the last came back."""

    async def holds() -> bool:
        return all(client.connects == connects for client in group.members.values())

    await polled(holds, DRAIN_S, lambda: f"{connects} connections of each client")


def duplicates(group: Group) -> int:
    """How many messages the server had written before it could say so."""
    return sum(ack["duplicate"] for client in group.members.values() for ack in client.acks.values())


def retries(group: Group) -> int:
    """How often a Python client sent a message again."""
    return sum(
        client.attempts.total() - MESSAGES_EACH for client in group.members.values() if isinstance(client, PyClient)
    )


async def test_five_kills_under_load(tmp_path: Path, figure: Callable[[str], None]) -> None:
    """`kill -9` five times under load: every acked message is in the log once, every client's events are the log."""
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(ServerProcess(tmp_path))
        group = await gather(stack, server.url)
        total = MESSAGES_EACH * len(group.members)
        began = time.perf_counter()
        speaking = asyncio.create_task(speech(group))
        for number in range(1, KILLS + 1):
            await group.reach(total * number // (KILLS + 1))
            await everybody_is_back(group, number)
            assert not speaking.done()
            await server.kill()
            await server.start()
        await speaking
        seconds = time.perf_counter() - began
        await check_log(group, server.url)
        assert server.faults() == []
        assert [client.connects for client in group.members.values()] == [1 + KILLS] * len(group.members)
    figure(
        f"{total} messages over {KILLS} kills in {seconds:.1f} s, {retries(group)} sent again, "
        f"{duplicates(group)} of all were in the log already"
    )
    assert retries(group) >= KILLS


@pytest.mark.alone  # a drain of one second leaves an answer 0.15 s
async def test_an_orderly_stop_under_load(tmp_path: Path, figure: Callable[[str], None]) -> None:
    """SIGTERM under load: exit code 0 within 20 s; what was read is answered, the rest is sent once more."""
    async with AsyncExitStack() as stack:
        # Short: clients that are told to move go on talking until they are closed, and must not be done by then.
        server = await stack.enter_async_context(ServerProcess(tmp_path, {"MARU_DRAIN_TIMEOUT": "1"}))
        group = await gather(stack, server.url)
        total = MESSAGES_EACH * len(group.members)
        speaking = asyncio.create_task(speech(group))
        await group.reach(total // 2)
        assert not speaking.done()
        began = time.perf_counter()
        assert await server.terminate() == 0
        seconds = time.perf_counter() - began
        assert seconds < DRAIN_S
        answered = group.acked
        assert not speaking.done()
        await server.start()
        await speaking
        await check_log(group, server.url)
        assert server.faults() == []
        assert [client.connects for client in group.members.values()] == [2] * len(group.members)
        again = [max(client.attempts.values()) for client in group.members.values() if isinstance(client, PyClient)]
        assert max(again) <= 2
    figure(f"stopped in {seconds:.2f} s at {answered} of {total} acks; {retries(group)} sent again")
    assert duplicates(group) == 0, "what was written was also answered"


async def py_sender(stack: AsyncExitStack, url: str) -> tuple[Client, Callable[[Outgoing], Awaitable[None]]]:
    """A Python client that sends one message."""
    client = await stack.enter_async_context(PyClient(url, token("paula")))
    return client, lambda message: client.send_all([message], 1)


async def js_sender(stack: AsyncExitStack, url: str) -> tuple[Client, Callable[[Outgoing], Awaitable[None]]]:
    """A client on our JavaScript core that sends one message."""
    client = await stack.enter_async_context(CoreJsClient(url, token("judith"), backoffMinMs=200, backoffMaxMs=500))
    return client, lambda message: client.send_all([message])


@pytest.mark.parametrize("join_as", [py_sender, js_sender])
async def test_a_lost_ack(tmp_path: Path, join_as: Any) -> None:
    """A send whose ack was lost with the server is sent again under its key, and is in the log once."""
    message = Outgoing("room:one", "did you hear me?", "the-key")
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(ServerProcess(tmp_path))
        proxy = await stack.enter_async_context(Proxy(server.port))
        observer = await stack.enter_async_context(PyClient(server.url, token("olga")))
        await observer.join("room:one")
        client, send = await join_as(stack, proxy.url)
        await client.join("room:one")
        proxy.swallowing = True
        sending = asyncio.create_task(send(message))
        await observer.heard("room:one", 1)
        assert client.acks == {}
        await server.kill()
        proxy.swallowing = False
        await server.start()
        await sending
        assert (client.acks["the-key"]["duplicate"], client.acks["the-key"]["offset"]) == (True, 1)
        await client.heard("room:one", 1)
        await observer.online()
        auditor = await stack.enter_async_context(PyClient(server.url, token("auditor")))
        assert await read_log(auditor, "room:one") == [entry(client.acks["the-key"]["message"])]
        for hearer in (client, observer):
            assert ([event["offset"] for event in hearer.received["room:one"]], hearer.faults) == ([1], [])
