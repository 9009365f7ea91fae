"""Four clients of two libraries, three channels, ten thousand messages: one order, for everybody."""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.clients.account import Outgoing
from tests.clients.javascript import BareJsClient
from tests.clients.python import PyClient
from tests.harness.server import ServerProcess
from tests.harness.tokens import token

CHANNELS = ("room:one", "room:two", "room:three")
MESSAGES_EACH = 2_500
PY_IN_FLIGHT = 64

Client = BareJsClient | PyClient


def messages_of(user: str) -> list[Outgoing]:
    """What one user says, taking turns through the channels."""
    return [
        Outgoing(CHANNELS[number % len(CHANNELS)], f"{user} says {number}", f"{user}-{number:05}")
        for number in range(MESSAGES_EACH)
    ]


def log_of(client: Client, channel: str) -> list[tuple[int, str, str, str]]:
    """What a client was told of a channel, in the order in which it was told."""
    return [
        (event["offset"], event["message"]["id"], event["message"]["key"], event["message"]["text"])
        for event in client.received[channel]
    ]


async def test_every_member_sees_one_order(tmp_path: Path, figure: Callable[[str], None]) -> None:
    """10,000 concurrent messages: every member sees offsets 1..n of each channel, in order, once, and each ack fits."""
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(ServerProcess(tmp_path))
        js = {
            user: await stack.enter_async_context(BareJsClient(server.url, token(user))) for user in ("judith", "jan")
        }
        py = {user: await stack.enter_async_context(PyClient(server.url, token(user))) for user in ("paula", "pavel")}
        members: dict[str, Client] = js | py
        for client in members.values():
            for channel in CHANNELS:
                await client.join(channel)
        began = time.perf_counter()
        async with asyncio.TaskGroup() as sending:
            for user, bare in js.items():
                sending.create_task(bare.burst(messages_of(user)))
            for user, plain in py.items():
                sending.create_task(plain.send_all(messages_of(user), PY_IN_FLIGHT))
        assert [client.faults for client in members.values()] == [[]] * len(members)
        acked = time.perf_counter() - began
        await everything_heard(list(members.values()))
        heard = time.perf_counter() - began
        assert server.faults() == []
    total = MESSAGES_EACH * len(members)
    figure(f"{total} messages: {total / acked:,.0f}/s acked, {total * len(members) / heard:,.0f} deliveries/s")
    check_order(members)
    for user, client in members.items():
        assert client.faults == []
        check_acks(user, client)


@pytest.mark.alone  # a heartbeat of half a second: the client must not be kept from it by other tests
async def test_a_burst_is_not_taken_for_death(tmp_path: Path) -> None:
    """While the server works off a burst it reads nothing of that client, and does not blame it for an unread pong."""
    async with AsyncExitStack() as stack:
        heartbeat = {"MARU_PING_INTERVAL": "500ms", "MARU_PING_TIMEOUT": "500ms"}
        server = await stack.enter_async_context(ServerProcess(tmp_path, heartbeat))
        client = await stack.enter_async_context(BareJsClient(server.url, token("judith")))
        await client.burst(messages_of("judith"))
        assert client.faults == []
        assert [client.acks[message.key]["ok"] for message in messages_of("judith")] == [True] * MESSAGES_EACH
        assert server.faults() == []


async def everything_heard(clients: Sequence[Client]) -> None:
    """Wait until every client has been told of as many events of each channel as there are acks."""
    offsets = dict.fromkeys(CHANNELS, 0)
    for client in clients:
        for ack in client.acks.values():
            channel = ack["message"]["channel"]
            offsets[channel] = max(offsets[channel], ack["offset"])
    for client in clients:
        for channel, offset in offsets.items():
            await client.heard(channel, offset)


def check_order(members: dict[str, Client]) -> None:
    """One dense order for all, and in it every sender's own order."""
    count = 0
    for channel in CHANNELS:
        first, *others = (log_of(client, channel) for client in members.values())
        assert [offset for offset, *_ in first] == list(range(1, len(first) + 1))
        assert all(other == first for other in others)
        for user in members:
            keys = [key for _, _, key, _ in first if key.startswith(f"{user}-")]
            assert keys == [message.key for message in messages_of(user) if message.channel == channel]
        count += len(first)
    assert count == MESSAGES_EACH * len(members)


def check_acks(user: str, client: Client) -> None:
    """Each ack is `ok`, no duplicate, and names the place at which the message was delivered."""
    delivered: dict[str, dict[str, Any]] = {
        event["message"]["key"]: event for events in client.received.values() for event in events
    }
    for message in messages_of(user):
        ack, event = client.acks[message.key], delivered[message.key]
        assert (ack["ok"], ack["duplicate"]) == (True, False)
        assert (ack["epoch"], ack["offset"], ack["message"]) == (event["epoch"], event["offset"], event["message"])
        assert (event["message"]["text"], event["message"]["author"]["id"]) == (message.text, user)
