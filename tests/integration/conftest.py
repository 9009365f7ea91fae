"""One real server process for a module of tests, and proof that a test has harmed nobody and left nothing behind.

A module may set `SERVER_ENV` (more `MARU_*` variables) and `LOOPS` (event loops to run its tests on).
"""

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio

from tests.clients.bystander import Bystander
from tests.clients.raw import RawSocket, admitted
from tests.harness.server import ServerProcess
from tests.harness.tokens import token

Line = dict[str, Any]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a module's tests on each of its event loops."""
    if "server" in metafunc.fixturenames:
        metafunc.parametrize("server", getattr(metafunc.module, "LOOPS", ["uvloop"]), indirect=True, scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[ServerProcess]:
    """A server that logs no error and no traceback, and each connection's end exactly once."""
    env = {"MARU_EVENT_LOOP": request.param} | getattr(request.module, "SERVER_ENV", {})
    async with ServerProcess(tmp_path_factory.mktemp("server"), env) as process:
        yield process
        assert await process.terminate() == 0
        blameless(process.lines, process.output)


def blameless(lines: list[Line], output: str) -> None:
    """No error, no traceback, one line for each connection that ended."""
    assert "Traceback" not in output
    assert [line for line in lines if line.get("level") in {"error", "critical"}] == []
    ends = Counter(line["connection"] for line in lines if line.get("event") == "connection.closed")
    assert [connection for connection, count in ends.items() if count != 1] == []


class Scene:
    """The server, the bystander, and what is normal when only that one is there."""

    def __init__(self, server: ServerProcess, bystander: Bystander, tasks: int) -> None:
        self.server = server
        self.bystander = bystander
        self._tasks = tasks
        self._clients: list[RawSocket] = []

    async def dial(self, **how: Any) -> RawSocket:
        """A TCP connection."""
        return self._kept(await RawSocket.dial(self.server.port, **how))

    async def open(self, **how: Any) -> RawSocket:
        """A WebSocket without a session."""
        return self._kept(await admitted(lambda: RawSocket.open(self.server.port, **how)))

    async def chat(self, user: str = "mallory", **how: Any) -> RawSocket:
        """A WebSocket with a session of `user`."""
        credential = how.pop("token", None) or token(user)
        return self._kept(await admitted(lambda: RawSocket.chat(self.server.port, credential, **how)))

    def _kept(self, client: RawSocket) -> RawSocket:
        self._clients.append(client)
        return client

    def vanish(self) -> None:
        """Close all that a test has left open."""
        for client in self._clients:
            client.vanish()
        self._clients.clear()

    async def ended(self, client: RawSocket, reason: str | None = None, code: int | None = None) -> Line:
        """Wait for the one line that tells of the client's end, and check what it says where that is given."""
        line = await self.server.logged(
            lambda line: line.get("event") == "connection.closed" and line["connection"] == client.connection,
            timeout=20.0,  # one who does not read is waited for, 10 s at the most
        )
        assert reason is None or (line["reason"], line["code"]) == (reason, code)
        return line

    async def clean(self) -> None:
        """Nothing is left of anybody but the bystander, who is well."""
        await self.bystander.unharmed()
        await self.server.settled(connections=1, sessions=1, tasks=self._tasks)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(server: ServerProcess) -> AsyncIterator[Scene]:
    """A server with a bystander."""
    await server.settled(started=True)
    idle = (await server.counts())["tasks"]
    async with Bystander(server.url) as bystander:
        yield Scene(server, bystander, idle)


@pytest.fixture(autouse=True)
def _leftovers(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test that failed half-way leaves no socket behind."""
    yield
    if "scene" in request.fixturenames:
        request.getfixturevalue("scene").vanish()
