"""A replica whose event loop is late lets nobody in and goes on to serve those inside; then all is as before."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.clients.raw import PATH, RawSocket, handshake
from tests.conftest import Figure
from tests.harness.scrape import read, scraped
from tests.harness.server import ServerProcess
from tests.harness.tokens import token

START = """
import asyncio, pathlib, sys, time
import server.bootstrap.replica as replica
from server.__main__ import main

async def block():
    while True:
        await asyncio.sleep(0.005)
        if (wanted := pathlib.Path("block")).exists():
            time.sleep(float(wanted.read_text() or 0))

replica.collect_when_idle = block
sys.exit(main([]))
"""
"""A server whose event loop stands still again and again, for as long as a file says."""

BUSY_S, HOT_S = 0.3, 0.8

CALM_WITHIN_S = 20.0


@pytest_asyncio.fixture(params=["uvloop", "asyncio"])
async def late(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ServerProcess]:
    """A server that can be made late."""
    async with ServerProcess(tmp_path, {"MARU_EVENT_LOOP": request.param}, ("-c", START)) as process:
        yield process
        assert await process.terminate() == 0
        assert process.faults() == []


@asynccontextmanager
async def blocked(server: ServerProcess, seconds: float, load: str) -> AsyncIterator[float]:
    """Let the loop stand still for so long, again and again, and wait for the state. Yields how long that took."""
    file, since, began = server.folder / "block", len(server.lines), time.monotonic()
    file.write_text(str(seconds))
    try:
        line = await server.logged(lambda line: line.get("load") == load, since=since, timeout=20.0)
        assert line["event"] == "overload.changed"
        yield time.monotonic() - began
    finally:
        file.unlink()


async def refused(server: ServerProcess) -> bytes:
    """The answer to a handshake that is refused."""
    client = await RawSocket.dial(server.port)
    await client.send(handshake(PATH))
    head, _ = await client.whole_response()
    client.vanish()
    return head


async def state(server: ServerProcess) -> float:
    """What the metrics say."""
    return read(await scraped(server.internal_port))["maru_overload_state"]


async def calm(server: ServerProcess, since: int) -> None:
    """Wait until the server says that it is calm, then connect."""
    await server.logged(lambda line: line.get("load") == "calm", since=since, timeout=CALM_WITHIN_S)
    assert await state(server) == 0
    await (await RawSocket.chat(server.port, token("newcomer"))).leave()


async def ask(client: RawSocket, name: str, **payload: Any) -> Any:
    """Ask about the room."""
    return await client.ask(name, {"channel": "room:late", **payload})


async def test_busy(late: ServerProcess, figure: Figure) -> None:
    """503 with `Retry-After` for newcomers within 1.5 s, acks for those inside; probes stay green; calm again."""
    inside = await RawSocket.chat(late.port, token("inside"))
    since = len(late.lines)
    async with blocked(late, BUSY_S, "busy") as took:
        head = await refused(late)
        assert head.startswith(b"HTTP/1.1 503 ")
        assert 1 <= int(head.partition(b"Retry-After: ")[2][:1]) <= 5
        for number in range(3):
            assert (await ask(inside, "message:send", text=str(number)))["ok"]
        assert (await ask(inside, "channel:join", history=3))["ok"]
        assert (await ask(inside, "history:read"))["ok"]
        assert (await late.counts())["status"] == "ready"
        assert await state(late) == 1
    figure(f"busy after {took:.2f} s of blocks of {BUSY_S} s")
    assert took < 3.0  # 1.5 s on a machine that has nothing else to do; the unit tests measure in virtual time
    await calm(late, since)
    changes = [line["load"] for line in late.lines[since:] if line["event"] == "overload.changed"]
    assert changes == ["busy", "calm"]
    await inside.leave()


async def test_slow_readers(tmp_path: Path) -> None:
    """Clients for which much waits, and that stand still, are dropped: newcomers come in, and memory is bounded."""
    env = {"MARU_MAX_OUTBOUND": "1MiB", "MARU_LIMITS": "off", "MARU_MESSAGE_LOG": "memory"}
    async with ServerProcess(tmp_path, env) as server:
        stalled = [
            await RawSocket.chat(server.port, token(f"stalled-{number}"), receive_buffer=4_096) for number in range(8)
        ]
        for client in stalled:
            assert (await ask(client, "channel:join"))["ok"]
        writer, since, before = await RawSocket.chat(server.port, token("writer")), len(server.lines), server.memory()

        def gone() -> list[str]:
            closed = [line for line in server.lines[since:] if line.get("event") == "connection.closed"]
            return [line["reason"] for line in closed if (line["user"] or "").startswith("stalled")]

        async with asyncio.timeout(60):
            while len(gone()) < len(stalled):
                assert (await ask(writer, "message:send", text="x" * 4_000))["ok"]
                assert server.memory() - before < 48 << 20
                await (await RawSocket.chat(server.port, token("newcomer"))).leave()
        assert set(gone()) <= {"outbound memory", "slow reader"}
        for client in stalled:
            client.vanish()
        assert not any("load" in line for line in server.lines[since:])
        assert (await ask(writer, "message:send", text="on"))["ok"]
        await writer.leave()


async def test_hot(late: ServerProcess) -> None:
    """Reads of history are refused too; messages, joins, what was missed and resumes are not."""
    inside = await RawSocket.chat(late.port, token("inside"))
    sent = [await ask(inside, "message:send", text=str(number)) for number in range(3)]
    first = {"epoch": sent[0]["epoch"], "offset": 1}
    since = len(late.lines)
    async with blocked(late, HOT_S, "hot"), asyncio.timeout(60):
        for name, payload in (("history:read", {}), ("channel:join", {"history": 2})):
            error = (await ask(inside, name, **payload))["error"]
            assert (error["code"], error["retryable"]) == ("overloaded", True)
            assert 2_000 <= error["retry_after_ms"] <= 5_000
        assert (await ask(inside, "channel:join"))["ok"]
        missed = await ask(inside, "channel:join", since=first, history=2)
        assert [event["offset"] for event in missed["events"]] == [2, 3]
        assert (await ask(inside, "message:send", text="last"))["ok"]
        assert (await refused(late)).startswith(b"HTTP/1.1 503 ")
        assert await state(late) == 2
    await calm(late, since)
    assert (await ask(inside, "history:read"))["ok"]
    await inside.leave()
