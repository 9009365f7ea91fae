"""The server dies, or is stopped, under load: what was acked is there once, and nobody missed or repeated anything."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.clients.account import Entry, Outgoing, entry
from tests.clients.javascript import CoreJsClient
from tests.clients.python import PyClient
from tests.harness.lossy_proxy import LossyProxy
from tests.harness.server import ServerProcess
from tests.harness.tokens import token
from tests.harness.waiting import until

CHANNELS = ("room:one", "room:two", "room:three")
MESSAGES_EACH = 720  # of four senders: just under a replay of 1,000 a channel, so that one join tells the whole log
REPLAY = 1_000
PAGE = 100
IN_FLIGHT = 16
KILLS = 5
DRAIN_S = 20.0

Client = CoreJsClient | PyClient


@dataclass(frozen=True, slots=True)
class Crowd:
    """Four users in three channels, and the event that is set when any of them hears something."""

    members: dict[str, Client]
    changed: asyncio.Event

    @property
    def acked(self) -> int:
        """How many messages have their ack."""
        return sum(len(client.acks) for client in self.members.values())

    async def reach(self, acked: int) -> None:
        """Wait until so many messages are acked."""
        await until(lambda: self.acked >= acked, self.changed, 60.0, lambda: f"{acked} acks; there are {self.acked}")

    async def speak(self) -> None:
        """Everybody sends everything; returns when all of it is acked."""
        async with asyncio.TaskGroup() as sending:
            for user, client in self.members.items():
                if isinstance(client, PyClient):
                    sending.create_task(client.send_all(messages_of(user), IN_FLIGHT))
                else:
                    sending.create_task(client.send_all(messages_of(user)))


def messages_of(user: str) -> list[Outgoing]:
    """What one user says, taking turns through the channels."""
    return [
        Outgoing(CHANNELS[number % len(CHANNELS)], f"{user} says {number}", f"{user}-{number:05}")
        for number in range(MESSAGES_EACH)
    ]


async def gather_crowd(stack: AsyncExitStack, url: str) -> Crowd:
    """Two users on our JavaScript core, two on a plain python-socketio that keeps its positions and keys by itself."""
    changed = asyncio.Event()
    options: dict[str, Any] = {"backoffMinMs": 200, "backoffMaxMs": 500, "outboxLimit": MESSAGES_EACH}
    members: dict[str, Client] = {
        "judith": CoreJsClient(url, token("judith"), changed, inFlight=1, **options),
        "jan": CoreJsClient(url, token("jan"), changed, inFlight=IN_FLIGHT, **options),
        "paula": PyClient(url, token("paula"), changed),
        "pavel": PyClient(url, token("pavel"), changed),
    }
    for client in members.values():
        await stack.enter_async_context(client)
        for channel in CHANNELS:
            await client.join(channel)
    return Crowd(members, changed)


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


async def check_log(crowd: Crowd, url: str) -> None:
    """The log holds every message once, in its sender's order and where its ack says; every client heard just that."""
    async with PyClient(url, token("auditor")) as auditor:
        for channel in CHANNELS:
            log = await read_log(auditor, channel)
            for user, client in crowd.members.items():
                sent = [message for message in messages_of(user) if message.channel == channel]
                mine = [found for found in log if found[2].startswith(f"{user}-")]
                assert [(key, text) for _, _, key, text in mine] == [(each.key, each.text) for each in sent]
                assert [entry(client.acks[each.key]["message"]) for each in sent] == mine
                await client.heard(channel, len(log))
                assert client.entries(channel) == log
    for client in crowd.members.values():
        assert client.faults == []


def duplicates(crowd: Crowd) -> int:
    """How many messages the server had written before it could say so."""
    return sum(ack["duplicate"] for client in crowd.members.values() for ack in client.acks.values())


def retries(crowd: Crowd) -> int:
    """How often a Python client sent a message again."""
    return sum(
        client.attempts.total() - MESSAGES_EACH for client in crowd.members.values() if isinstance(client, PyClient)
    )


async def test_five_kills_under_load(tmp_path: Path, figure: Callable[[str], None]) -> None:
    """`kill -9` five times under load: every acked message is in the log once, every client's events are the log."""
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(ServerProcess(tmp_path))
        crowd = await gather_crowd(stack, server.url)
        total = MESSAGES_EACH * len(crowd.members)
        began = time.perf_counter()
        speaking = asyncio.create_task(crowd.speak())
        for number in range(1, KILLS + 1):
            await crowd.reach(total * number // (KILLS + 1))
            assert not speaking.done()
            await server.kill()
            await server.start()
        await speaking
        seconds = time.perf_counter() - began
        await check_log(crowd, server.url)
        assert server.faults() == []
        assert [client.connects for client in crowd.members.values()] == [1 + KILLS] * len(crowd.members)
    figure(
        f"{total} messages over {KILLS} kills in {seconds:.1f} s, {retries(crowd)} sent again, "
        f"{duplicates(crowd)} of all were in the log already"
    )
    assert retries(crowd) >= KILLS


async def test_an_orderly_stop_under_load(tmp_path: Path, figure: Callable[[str], None]) -> None:
    """SIGTERM under load: exit code 0 within 20 s; what was read is answered, the rest is sent once more."""
    async with AsyncExitStack() as stack:
        # Short: clients that are told to move go on talking until they are closed, and must not be done by then.
        server = await stack.enter_async_context(ServerProcess(tmp_path, {"MARU_DRAIN_TIMEOUT": "1"}))
        crowd = await gather_crowd(stack, server.url)
        total = MESSAGES_EACH * len(crowd.members)
        speaking = asyncio.create_task(crowd.speak())
        await crowd.reach(total // 2)
        assert not speaking.done()
        began = time.perf_counter()
        assert await server.terminate() == 0
        seconds = time.perf_counter() - began
        assert seconds < DRAIN_S
        answered = crowd.acked
        assert not speaking.done()
        await server.start()
        await speaking
        await check_log(crowd, server.url)
        assert server.faults() == []
        assert [client.connects for client in crowd.members.values()] == [2] * len(crowd.members)
        again = [max(client.attempts.values()) for client in crowd.members.values() if isinstance(client, PyClient)]
        assert max(again) <= 2
    figure(f"stopped in {seconds:.2f} s at {answered} of {total} acks; {retries(crowd)} sent again")
    assert duplicates(crowd) == 0, "what was written was also answered"


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
        proxy = await stack.enter_async_context(LossyProxy(server.port))
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
