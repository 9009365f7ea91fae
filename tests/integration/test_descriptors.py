"""Clients that use up the file descriptors: those inside go on, probes are answered, and the log stays short."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from bench.processes import cpu_s
from tests.clients.raw import RawSocket, handshake
from tests.conftest import Figure
from tests.harness.backend import API_ENV, API_KEY, call
from tests.harness.server import ServerProcess
from tests.harness.tokens import token
from tests.harness.waiting import polled

FEW = 64
"""Descriptors of the server."""

CROWD = 150

START = (
    "import resource, runpy, sys; sys.argv = ['server'];"
    f"resource.setrlimit(resource.RLIMIT_NOFILE, ({FEW // 2}, {FEW})); runpy.run_module('server', run_name='__main__')"
)

SENDS = 50

CPU_S = 2.0
"""Of the server, for all that a test does after the start. A loop that spins takes as much as there is."""


@pytest_asyncio.fixture(params=["uvloop", "asyncio"])
async def tight(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ServerProcess]:
    """A server that may have few descriptors, and has no fault."""
    async with ServerProcess(tmp_path, {"MARU_EVENT_LOOP": request.param}, ("-c", START)) as process:
        yield process
        assert await process.terminate() == 0
        assert process.faults() == []


@contextlib.contextmanager
def crowd(port: int, sent: bytes) -> Iterator[list[socket.socket]]:
    """Connections that stay, each of which has sent so much."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(CROWD)]
        for client in sockets:
            client.connect(("127.0.0.1", port))
            with contextlib.suppress(OSError):
                client.sendall(sent)
        yield sockets


HALF_A_BODY = (
    f"POST /api/v1/channels/room:1/messages HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {API_KEY}\r\n"
    'Content-Type: application/json\r\nContent-Length: 99\r\n\r\n{"'
).encode()


async def test_the_soft_limit_is_raised_and_said(tight: ServerProcess) -> None:
    """The line `serving` has the descriptors, and how many clients may be connected."""
    line = next(line for line in tight.lines if line["event"] == "serving")
    assert line["descriptors"] == FEW
    assert 0 < line["max_connections"] < FEW - 32


@pytest.mark.parametrize("sent", [b"", b"G", handshake()[:-2]], ids=["nothing", "a byte", "half a handshake"])
async def test_descriptors_used_up(tight: ServerProcess, figure: Figure, sent: bytes) -> None:
    """A session inside is acked, `/livez` answers, one line tells; and newcomers find room when the crowd has gone."""
    inside = await RawSocket.chat(tight.port, token("inside"))
    began, lines = cpu_s([tight.pid]), len(tight.lines)
    with crowd(tight.port, sent):
        for number in range(SENDS):
            assert (await inside.ask("message:send", {"channel": "room:few", "text": str(number)}))["ok"]
            assert (await inside.ask("channel:join", {"channel": f"room:few-{number}", "history": 5}))["ok"]
            assert (await tight.counts())["status"] == "ready"
        assert len(await tight.lines_of("connections.full", 1, since=lines)) == 1
    figure(f"{cpu_s([tight.pid]) - began:.2f} s of CPU, {len(tight.lines) - lines} lines for {CROWD} connections")
    assert cpu_s([tight.pid]) - began < CPU_S
    assert "accept" not in tight.output

    async def let_in() -> bool:
        with contextlib.suppress(Exception):
            (await RawSocket.chat(tight.port, token("newcomer"))).vanish()
            return True
        return False

    await polled(let_in, 10.0, lambda: "nobody is let in")
    inside.vanish()


async def test_a_newcomer_without_room_is_told_when_to_come_back(tight: ServerProcess) -> None:
    """503 with `Retry-After`, by which a proxy asks another replica."""
    line = next(line for line in tight.lines if line["event"] == "serving")
    async with asyncio.timeout(10), contextlib.AsyncExitStack() as stack:
        for number in range(line["max_connections"]):
            client = await RawSocket.chat(tight.port, token(f"user-{number}"))
            stack.callback(client.vanish)
        refused = await RawSocket.dial(tight.port)
        stack.callback(refused.vanish)
        await refused.send(handshake())
        head, _ = await refused.whole_response()
        assert head.startswith(b"HTTP/1.1 503 ")
        assert 1 <= int(head.partition(b"Retry-After: ")[2][:1]) <= 5


async def test_backends_keep_no_probe_out(tmp_path: Path) -> None:
    """However many connections they hold, and whatever they have sent on them. Then a backend can ask again."""
    async with ServerProcess(tmp_path, API_ENV, ("-c", START)) as server, aiohttp.ClientSession() as session:
        for sent in (b"", b"GET /liv", b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n", HALF_A_BODY):
            with crowd(server.internal_port, sent):
                for path in ("livez", "readyz", "metrics") * 5:
                    async with session.get(
                        f"http://127.0.0.1:{server.internal_port}/{path}", headers={"Connection": "close"}
                    ) as answer:
                        assert answer.status == 200

        async def asks() -> bool:
            return (await call(server, "GET", "/channels/room:1/messages"))[0] == 200

        await polled(asks, 10.0, lambda: "a backend is not answered")
        assert server.faults() == []
