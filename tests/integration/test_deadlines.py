"""The waits that have no setting, at their real length; they run side by side, so that they take as long as one.

Each scenario is a task that starts with the module; its test waits for it.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import suppress

import pytest
import pytest_asyncio

from loadtest.frames import Opcode, header
from tests.clients.frames import masked
from tests.clients.javascript import BARE, node
from tests.clients.raw import Gone, RawSocket, handshake
from tests.conftest import Figure
from tests.harness.program import Program
from tests.harness.server import ServerProcess
from tests.harness.tokens import token

pytestmark = pytest.mark.asyncio(loop_scope="module")

Figures = dict[str, float]
Scenario = Callable[[ServerProcess], Coroutine[None, None, Figures]]


async def closed_line(server: ServerProcess, connection: str, timeout: float) -> dict[str, object]:
    """The one line of a connection's end."""
    return await server.logged(
        lambda line: line.get("event") == "connection.closed" and line["connection"] == connection, timeout=timeout
    )


async def frozen(server: ServerProcess) -> Figures:
    """Freeze a real client process between two of its pongs; say how long the server took to notice."""
    client = Program(*node(BARE))
    await client.start()
    try:
        await client.ask({"do": "connect", "url": server.url, "token": token("frozen")}, 15)
        client.freeze()
        began = time.monotonic()
        line = await server.logged(
            lambda line: line.get("event") == "connection.closed" and line["user"] == "frozen", timeout=40
        )
        took = time.monotonic() - began
    finally:
        await client.kill()
    assert (line["reason"], line["code"]) == ("ping timeout", None)
    return {"noticed after": took}


async def deaf(server: ServerProcess) -> Figures:
    """Join, then never answer a ping; count from the last byte sent."""
    client = await RawSocket.chat(server.port, token("deaf"))
    began = time.monotonic()
    pings = 0
    with suppress(Gone):
        while True:
            pings += (await client.frame(timeout=30)).payload == b"2"
    client.vanish()
    assert (await closed_line(server, client.connection, 5))["reason"] == "ping timeout"
    return {"gone after": time.monotonic() - began, "pings": pings}


async def talkative(server: ServerProcess) -> Figures:
    """Never answer a ping, but say something now and then; then leave."""
    client = await RawSocket.chat(server.port, token("talkative"))
    began = time.monotonic()
    while time.monotonic() - began < 24:
        with suppress(TimeoutError):
            await client.frame(timeout=4)
        await client.send(masked("", Opcode.PONG))
    await client.leave()
    assert (await closed_line(server, client.connection, 5))["reason"] == "client closed"
    return {"stayed": time.monotonic() - began}


async def late(server: ServerProcess) -> Figures:
    """Open a WebSocket, answer the pings, and never CONNECT."""
    client = await RawSocket.open(server.port)
    began = time.monotonic()
    frame = await client.closed(timeout=15)
    took = time.monotonic() - began
    assert (frame.code, frame.reason) == (1008, "no CONNECT in time")
    line = await closed_line(server, client.connection, 5)
    assert (line["reason"], line["code"], line["user"]) == ("no CONNECT in time", 1008, None)
    return {"closed after": took}


async def late_in_pieces(server: ServerProcess) -> Figures:
    """Send a CONNECT so slowly that it is never whole: a byte a second is not in time."""
    client = await RawSocket.open(server.port)
    began = time.monotonic()
    await client.send(header(200) + b"mask")
    frame = await client.frame()
    while frame.opcode != Opcode.CLOSE:
        client.push(b"x")
        with suppress(TimeoutError):
            frame = await client.frame(timeout=1)
    took = time.monotonic() - began
    assert frame.code == 1008
    await client.eof(timeout=4)
    assert (await closed_line(server, client.connection, 5))["reason"] == "no CONNECT in time"
    return {"closed after": took}


async def half_a_handshake(server: ServerProcess) -> Figures:
    """Send nothing, a part of a request, or a request whose headers never end."""
    began = time.monotonic()
    sent = (b"", handshake()[:60], handshake()[:-2])
    clients = [await RawSocket.dial(server.port) for _ in sent]
    for client, part in zip(clients, sent, strict=True):
        client.push(part)
    await asyncio.gather(*(client.eof(timeout=25) for client in clients))
    return {"closed after": time.monotonic() - began}


async def idle_http(server: ServerProcess) -> Figures:
    """Ask once over HTTP, and keep the connection."""
    client = await RawSocket.dial(server.port)
    began = time.monotonic()
    client.push(handshake("/nothing", {"Upgrade": "", "Connection": "keep-alive"}))
    assert (await client.response())[0] == 404
    await client.eof(timeout=25)
    return {"closed after": time.monotonic() - began}


SCENARIOS: dict[str, tuple[Scenario, str, float, float]] = {
    # The figure that counts, and what it may be.
    "a frozen process": (frozen, "noticed after", 10.0, 22.0),
    "a client that answers no ping": (deaf, "gone after", 10.0, 21.0),
    "a client that talks but answers no ping": (talkative, "stayed", 24.0, 30.0),
    "no CONNECT": (late, "closed after", 9.5, 12.0),
    "a CONNECT that never ends": (late_in_pieces, "closed after", 9.5, 13.0),
    "half a handshake": (half_a_handshake, "closed after", 5.0, 20.0),
    "an idle HTTP connection": (idle_http, "closed after", 10.0, 20.0),
}

Running = dict[str, asyncio.Task[Figures]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(server: ServerProcess) -> AsyncIterator[Running]:
    """All scenarios, under way."""
    tasks = {name: asyncio.create_task(scenario(server)) for name, (scenario, *_) in SCENARIOS.items()}
    yield tasks
    for task in tasks.values():
        task.cancel()
    await asyncio.gather(*tasks.values(), return_exceptions=True)


@pytest.mark.parametrize("name", SCENARIOS)
async def test_nothing_waits_for_ever(running: Running, figure: Figure, name: str) -> None:
    """Each wait ends when it is said to."""
    _, counts, least, most = SCENARIOS[name]
    figures = await running[name]
    figure({name: round(value, 2) for name, value in figures.items()})
    assert least <= figures[counts] <= most


async def test_nothing_is_left(server: ServerProcess, running: Running) -> None:
    """After all of them no connection, session or task is left."""
    await asyncio.wait(running.values())
    await server.settled(connections=0, sessions=0)
