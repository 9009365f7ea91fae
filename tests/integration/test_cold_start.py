"""After a start with nothing in memory everybody comes back with all channels: the work is for those who still wait."""

import asyncio
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from random import Random

import pytest

from bench.processes import cpu_s
from tests.clients.frames import masked
from tests.clients.raw import Gone, RawSocket, event
from tests.conftest import Figure
from tests.harness.server import ServerProcess
from tests.harness.tokens import token

pytestmark = [pytest.mark.alone, pytest.mark.asyncio(loop_scope="module")]

SERVER_ENV = {"MARU_PING_INTERVAL": "1h", "MARU_PING_TIMEOUT": "1h"}
"""A client here reads nothing while it waits for the others."""

CLIENTS = 200
CHANNELS = 500
ALL_CHANNELS = 10_000
"""Each channel has ten of the clients, and each client shares its channels with others: 100,000 joins, a tenth of them
of channels that are not in memory. To write 100,000 channels first would take longer than the test itself."""

WRITERS = 10

PATIENCE_S = 10.0
"""A client that is not online by then hangs up and tries again, as those of the project do."""

BACKOFF_S = (0.5, 2.0)

ONLINE_S = 100.0
"""By then all are online, also on a machine that has other things to do."""

NEWCOMER_CPU_S = 0.5
"""CPU time of the server that a newcomer's connect and join take, whatever waits."""

NEWCOMERS = 5

Positions = list[dict[str, object]]


async def write(server: ServerProcess, writer: int) -> Positions:
    """Write a message into each of the writer's channels; return the positions before those messages."""
    client = await RawSocket.chat(server.port, token("writer"))
    count = ALL_CHANNELS // WRITERS
    for number in range(count):
        message = {"channel": f"room:{writer * count + number}", "text": "while you were away"}
        client.push(masked(event("message:send", message, ack=number)))
    acks = [await client.ack(number) for number in range(count)]
    await client.leave()
    return [{"epoch": ack["epoch"], "offset": ack["offset"] - 1} for ack in acks]


async def attempt(port: int, user: str, resume: Mapping[str, object]) -> RawSocket | None:
    """Come back once; None if that takes longer than a client waits. No channel is removed meanwhile."""
    async with AsyncExitStack() as stack:
        socket = None
        try:
            async with asyncio.timeout(PATIENCE_S):
                socket = await RawSocket.open(port)
                stack.callback(socket.reset)
                await socket.join_chat(token(user), resume)
        except (TimeoutError, Gone):
            return None
        finally:
            told = socket.unread if socket is not None else []
            assert [text for text in told if '"recovered":true' not in text] == []
        assert len(told) == CHANNELS
        stack.pop_all()
        return socket


async def come_back(port: int, client: int, positions: Positions, jitter: Random) -> tuple[RawSocket, int]:
    """Try until the session is ready; return the client and the number of tries."""
    first = client * ALL_CHANNELS // CLIENTS
    numbers = [(first + number) % ALL_CHANNELS for number in range(CHANNELS)]
    resume = {f"room:{number}": positions[number] for number in numbers}
    tries = 1
    while (socket := await attempt(port, f"user-{client}", resume)) is None:
        tries += 1
        await asyncio.sleep(jitter.uniform(*BACKOFF_S))
    return socket, tries


async def newcomer(server: ServerProcess, number: int) -> float:
    """Connect and join a channel; return the server's CPU seconds of that time."""
    before = cpu_s([server.pid])
    client = await RawSocket.chat(server.port, token(f"newcomer-{number}"))
    assert (await client.ask("channel:join", {"channel": f"room:new-{number}"}))["ok"]
    spent = cpu_s([server.pid]) - before
    client.vanish()
    return spent


async def test_all_get_in_after_a_cold_start(server: ServerProcess, figure: Figure) -> None:
    """200 clients with 500 channels each come at once, and wait at most 10 s each: all are online in the end, and none
    is told that a channel is away. Newcomers with one channel do not wait for their 100,000; nothing is kept of clients
    that have hung up."""
    written = await asyncio.gather(*(write(server, writer) for writer in range(WRITERS)))
    positions = [position for some in written for position in some]
    await server.kill()
    await server.start()
    began, jitter = time.monotonic(), Random(1)
    most = 0
    async with asyncio.timeout(ONLINE_S), asyncio.TaskGroup() as coming:
        tasks = [coming.create_task(come_back(server.port, one, positions, jitter)) for one in range(CLIENTS)]
        await server.settled(connections=CLIENTS)
        waits = [await newcomer(server, number) for number in range(NEWCOMERS)]
        while not all(task.done() for task in tasks):
            most = max(most, (await server.counts())["connections"])
            await asyncio.wait(tasks, timeout=0.5)
    online, tries = zip(*(task.result() for task in tasks), strict=True)
    figure(
        f"online after {time.monotonic() - began:.1f} s and {sum(tries)} tries, {most} connections at most; "
        f"newcomers' connect and join: {max(waits):.2f} s of CPU"
    )
    assert max(waits) < NEWCOMER_CPU_S
    assert most <= CLIENTS * 1.1
    await server.settled(connections=CLIENTS, sessions=CLIENTS)
    for socket in online:
        socket.vanish()
    await server.settled(connections=0)
