"""What the tests of the Python bot share: servers, a channel of their own, and a watch on the log."""

import logging
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.clients.bot import JWT
from tests.harness.server import ServerProcess

ENV = {"MARU_TOKEN_GRACE": "0s", "MARU_JWT_LEEWAY": "0s", "MARU_DEV": "1"}
"""A session ends at its token's `exp`, and the example bot gets its token."""


@pytest.fixture(autouse=True)
def canary(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No test's token appears in a log line, however much is logged."""
    for name in ("", "maru_bot.socketio"):
        caplog.set_level(logging.DEBUG, logger=name)
    yield
    lines = [record.getMessage() for phase in ("setup", "call") for record in caplog.get_records(phase)]
    assert not JWT.search("\n".join(lines))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ServerProcess]:
    """A server that outlives the tests that share it."""
    async with ServerProcess(tmp_path_factory.mktemp("server"), ENV) as process:
        yield process


@pytest_asyncio.fixture(loop_scope="module")
async def mortal(tmp_path: Path) -> AsyncIterator[ServerProcess]:
    """A server for one test, to be killed."""
    async with ServerProcess(tmp_path, ENV) as process:
        yield process


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A channel of the test's own."""
    return "room:" + re.sub(r"[^a-z0-9._-]", ".", request.node.name)
