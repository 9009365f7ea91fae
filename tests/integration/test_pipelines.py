"""Clients that send without waiting for answers, as many at a time as the protocol allows."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from bench.processes import cpu_s
from tests.clients.frames import masked
from tests.clients.raw import RawSocket, event
from tests.harness.redis import RedisProcess
from tests.harness.server import ServerProcess
from tests.harness.tokens import token

pytestmark = pytest.mark.alone  # another client's wait is measured

CLIENTS = 100
EACH = 126
"""Sends of a client at once, fewer than the server reads (128). Together they are more than a log wants to wait."""

WAIT_S = 0.5
"""How long another client may wait (P12), in the processor time that the server uses meanwhile: this process, which
reads all the answers, keeps it waiting, too."""


@asynccontextmanager
async def serving(store: str, folder: Path) -> AsyncIterator[ServerProcess]:
    """A server over a store."""
    async with AsyncExitStack() as stack:
        env = {"MARU_MESSAGE_LOG": store}
        if store == "redis":
            redis = await stack.enter_async_context(RedisProcess(folder / "redis"))
            env["MARU_REDIS_URL"] = redis.url
        yield await stack.enter_async_context(ServerProcess(folder, env))


def burst(name: str) -> bytes:
    """Sends of a client, in one piece."""
    payloads = [{"channel": f"room:{number % 3}", "text": "x", "key": f"{name}-{number}"} for number in range(EACH)]
    return b"".join(masked(event("message:send", each, ack=number)) for number, each in enumerate(payloads))


async def answers(client: RawSocket) -> list[Any]:
    """The answers to a burst, in order."""
    return [await client.ack(number) for number in range(EACH)]


async def longest_wait(server: ServerProcess, client: RawSocket, over: asyncio.Event) -> float:
    """Ask again and again until it is over; return the longest wait for an answer, in seconds of the server's time."""
    longest = 0.0
    while not over.is_set():
        began = cpu_s([server.pid])
        assert (await client.ask("channel:join", {"channel": "room:quiet"}))["ok"]
        longest = max(longest, cpu_s([server.pid]) - began)
    return longest


@asynccontextmanager
async def vanishing() -> AsyncIterator[list[RawSocket]]:
    """A list of clients, whose sockets are closed at the end, whatever happens."""
    clients: list[RawSocket] = []
    try:
        yield clients
    finally:
        for client in clients:
            client.vanish()


@pytest.mark.parametrize("store", ["sqlite", "redis", "memory"])
async def test_many_pipelines_are_refused_nothing(store: str, tmp_path: Path) -> None:
    """Over a healthy store every send is done, in its client's order, and another client is answered meanwhile."""
    async with serving(store, tmp_path) as server, vanishing() as clients:
        for number in range(CLIENTS):
            clients.append(await RawSocket.chat(server.port, token(f"sender-{number}")))
        senders = list(clients)
        other, over = await RawSocket.chat(server.port, token("other")), asyncio.Event()
        clients.append(other)
        await other.ask("channel:join", {"channel": "room:quiet"})
        waiting = asyncio.create_task(longest_wait(server, other, over))
        for number, sender in enumerate(senders):
            sender.push(burst(f"sender-{number}"))
        told = await asyncio.gather(*map(answers, senders))
        over.set()
        assert [ack for acks in told for ack in acks if not ack["ok"]] == []
        for acks in told:
            for room in range(3):
                offsets = [ack["offset"] for ack in acks[room::3]]
                assert all(before < after for before, after in itertools.pairwise(offsets))
        assert await waiting < WAIT_S


@pytest.mark.parametrize("store", ["sqlite", "memory"])
async def test_large_answers_to_repeats_are_no_slow_reader(store: str, tmp_path: Path) -> None:
    """Small sends with the key of a large message are answered with that message, each, once the client reads."""
    large = {"channel": "room:1", "text": "€" * 4_000, "key": "k", "data": {"pad": "x" * 8_000}}
    repeat = {"channel": "room:1", "text": "x", "key": "k"}
    async with serving(store, tmp_path) as server, vanishing() as clients:
        client, other = [await RawSocket.chat(server.port, token(name)) for name in ("large", "other")]
        clients.extend((client, other))
        assert (await client.ask("message:send", large))["ok"]
        numbers = range(1_000, 1_000 + EACH)
        client.push(b"".join(masked(event("message:send", repeat, ack=number)) for number in numbers))
        for _ in range(20):  # meanwhile all repeats are done, and nobody reads their answers
            await other.ask("message:send", {"channel": "room:2", "text": "x"})
        for number in numbers:
            assert (await client.ack(number))["duplicate"]
