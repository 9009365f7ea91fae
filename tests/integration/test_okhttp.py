"""Clients on OkHttp: whatever they are closed for, the end of TCP's stream tells them, and no close frame."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from loadtest.frames import Opcode, header
from server.gateway.socketio.connecting import MAX_REFUSALS
from server.gateway.websocket.connection import CLOSE_WAIT_S, PART_WAIT_S
from server.gateway.websocket.registry import CONNECT_WAIT_S
from tests.clients.frames import closing, masked, unmasked
from tests.clients.raw import RawSocket, connect, event
from tests.harness.server import ServerProcess
from tests.harness.tokens import token
from tests.integration.conftest import Scene, blameless

pytestmark = pytest.mark.asyncio(loop_scope="module")

LOOPS = ["uvloop", "asyncio"]
SERVER_ENV = {"MARU_TOKEN_GRACE": "0s", "MARU_JWT_LEEWAY": "0s"}
OKHTTP = {"User-Agent": "okhttp/4.12.0"}
BAD = connect({"token": "bad"})

SOON_S = 0.9
"""By which a client knows that it is closed: far less than a ping timeout."""


async def chat(scene: Scene, **how: object) -> RawSocket:
    """A session of a client on OkHttp."""
    client = await scene.open(headers=OKHTTP, **how)
    await client.join_chat(token("mallory"))
    return client


async def sends(client: RawSocket, data: bytes | str) -> None:
    """Send a message, or bytes as they are."""
    await client.send(masked(data) if isinstance(data, str) else data)


async def is_refused(client: RawSocket) -> None:
    """CONNECT in vain, as often as may be."""
    for _ in range(MAX_REFUSALS):
        await client.say(BAD)


WAYS: dict[str, tuple[Callable[[RawSocket], Awaitable[None]], str, float]] = {
    "a malformed packet": (lambda client: sends(client, "4nonsense"), "malformed packet: type", 0.0),
    "a binary message": (lambda client: sends(client, masked(b"\x04", Opcode.BINARY)), "binary message", 0.0),
    "a frame without a mask": (lambda client: sends(client, unmasked("3")), "frame is not masked", 0.0),
    "text that is not UTF-8": (lambda client: sends(client, masked(b"4\xff")), "text is not UTF-8", 0.0),
    "a large message": (lambda client: sends(client, header(70_000)), "message over 65,536 bytes", 0.0),
    "Engine.IO's close": (lambda client: sends(client, "1"), "client left", 0.0),
    "five refusals": (is_refused, "CONNECT refused: unauthenticated", PART_WAIT_S),
}


@pytest.mark.parametrize(("way", "reason", "wait_s"), WAYS.values(), ids=WAYS)
async def test_the_stream_ends_without_a_close_frame(
    scene: Scene, way: Callable[[RawSocket], Awaitable[None]], reason: str, wait_s: float
) -> None:
    """At once, in an orderly way, behind what was said; and the log knows why. The code is that of no frame."""
    client = await scene.open(headers=OKHTTP)
    began = time.monotonic()
    await way(client)
    await client.end_of_stream()
    assert wait_s - 0.1 <= time.monotonic() - began < wait_s + SOON_S
    assert [text[:2] for text in client.unread] == ["44"] * (MAX_REFUSALS if wait_s else 0)
    line = await scene.ended(client, reason, None)
    assert line["seconds"] < wait_s + SOON_S
    await scene.clean()


async def test_answers_come_before_the_end(scene: Scene) -> None:
    """What is owed is written: acks of commands before the fault are there, and then the stream ends."""
    client = await chat(scene)
    asks = [masked(event("message:send", {"channel": "room:owed", "text": "x" * 900}, ack=n)) for n in range(40)]
    client.push(b"".join(asks))
    acks = [(await client.text()).partition("[")[0] for _ in range(40)]
    client.push(masked(event("history:read", {"channel": "room:owed", "limit": 100}, ack=99)))
    assert len((await client.ack(99))["messages"]) == 40
    await client.say("1")
    await client.end_of_stream()
    assert acks == [f"43/chat,{n}" for n in range(40)]
    await scene.clean()


async def test_a_terminated_session(scene: Scene) -> None:
    """It is told, and may close first: its own close frame is answered by one. If it does not, the stream ends."""
    waits, closes = [await scene.open(headers=OKHTTP) for _ in range(2)]
    for client in (waits, closes):
        await client.join_chat(token("short", ttl_s=1))
    for client in (waits, closes):
        assert (await client.event("session:terminated"))["code"] == "token_expired"
        assert await client.text() == "41/chat,"
    await closes.send(closing(1000))
    frame = await closes.frame()
    assert (frame.opcode, frame.code) == (Opcode.CLOSE, 1000)
    await closes.eof(SOON_S)
    await waits.end_of_stream(PART_WAIT_S + SOON_S)
    await scene.ended(waits, "terminated: token_expired", None)
    await scene.clean()


async def test_a_slow_reader(scene: Scene) -> None:
    """It is owed more than it takes: it gets two seconds for that, and is cut off."""
    client = await chat(scene, receive_buffer=4_096)
    assert (await client.ask("channel:join", {"channel": "room:slow"}))["ok"]
    writer = await scene.chat("writer")
    message = {"channel": "room:slow", "text": "x", "data": {"pad": "p" * 8_000}}
    async with client.showing_life():
        for number in range(1_000):
            assert (await writer.ask("message:send", message))["ok"]
            if number % 50 == 49 and any(_is_end(line, client) for line in scene.server.lines):
                break
        line = await scene.ended(client, "slow reader", None)
    assert line["user"] == "mallory"
    await writer.leave()
    await scene.clean()


def _is_end(line: dict[str, object], client: RawSocket) -> bool:
    return line.get("event") == "connection.closed" and line["connection"] == client.connection


async def test_a_client_that_stays_is_cut(scene: Scene) -> None:
    """After the end of the server's stream it has two seconds to end its own."""
    client = await chat(scene)
    began = time.monotonic()
    await client.say("1")
    with contextlib.suppress(ConnectionError):
        while not client._reader.at_eof():  # noqa: SLF001  # the end of one half, while the other stays open
            await client._reader.read(1 << 16)  # noqa: SLF001
    assert time.monotonic() - began < SOON_S
    await scene.ended(client, "client left", None)
    assert CLOSE_WAIT_S - 0.1 < time.monotonic() - began < CLOSE_WAIT_S + SOON_S
    await scene.clean()


async def test_other_ways_of_a_handshake(scene: Scene) -> None:
    """The name counts behind others too, and in requests that take the way over aiohttp; others get close frames."""
    odd = {"Accept-Charset": "utf-8"}  # no header of a plain handshake
    for headers, without in (
        (OKHTTP | odd, True),
        ({"User-Agent": "MyApp/1.0 okhttp/5.0.0-alpha.14"}, True),
        ({"User-Agent": "okhttp"}, False),
        (odd, False),
        ({}, False),
    ):
        client = await scene.open(headers=headers)
        await client.say("4nonsense")
        if without:
            await client.end_of_stream()
        else:
            assert (await client.closed()).code == 1008
        await scene.ended(client, "malformed packet: type", None if without else 1008)
    await scene.clean()


@pytest.mark.parametrize("loop", LOOPS)
async def test_no_connect_and_a_drain(tmp_path: Path, loop: str) -> None:
    """Neither a client without a CONNECT nor one that is moved gets a close frame; the drain counts it as closed."""
    async with ServerProcess(tmp_path, {"MARU_EVENT_LOOP": loop}) as server:
        silent = await RawSocket.open(server.port, headers=OKHTTP)
        began = time.monotonic()
        await silent.end_of_stream(CONNECT_WAIT_S + 2)
        assert time.monotonic() - began > CONNECT_WAIT_S - 0.1
        client = await RawSocket.open(server.port, headers=OKHTTP)
        await client.join_chat(token("ann"))
        early = await RawSocket.open(server.port, headers=OKHTTP)
        ending = asyncio.create_task(server.terminate())
        await early.end_of_stream(SOON_S)
        notice = await client.event("session:draining")
        assert (await client.ask("message:send", {"channel": "room:1", "text": "still served"}))["ok"]
        await client.end_of_stream(notice["deadline_ms"] / 1_000 + SOON_S)
        assert await ending == 0
        (drained,) = [line for line in server.lines if line["event"] == "drained"]
        assert (drained["closed"], drained["aborted"]) == (1, 0)
        blameless(server.lines, server.output)


async def test_a_dead_client_is_aborted_as_ever(tmp_path: Path) -> None:
    """The heartbeat cuts off: nothing could be read any more."""
    async with ServerProcess(tmp_path, {"MARU_PING_INTERVAL": "1s", "MARU_PING_TIMEOUT": "1s"}) as server:
        client = await RawSocket.open(server.port, headers=OKHTTP)
        await client.join_chat(token("ann"))
        line = await server.logged(lambda line: line.get("event") == "connection.closed")
        assert (line["reason"], line["code"]) == ("ping timeout", None)
        client.vanish()
