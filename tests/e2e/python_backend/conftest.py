"""What the tests of the Python SDK share: servers with an API key, clients of them, and a watch on the key."""

import logging
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from maru_backend import MaruBackend, Patience
from tests.harness.dead_letters import bury
from tests.harness.receiver import WebhookReceiver, setting
from tests.harness.server import ServerProcess

KEY = "canary-api-key-7f3a4b1c5d6e"

ENV = {"MARU_API_KEYS": KEY}

LETTERS = "room:letters"
"""The channel of the events that were refused."""


@pytest.fixture(autouse=True)
def canary(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No API key appears in a log line, however much is logged."""
    caplog.set_level(logging.DEBUG)
    yield
    assert KEY not in caplog.text


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ServerProcess]:
    """A server that outlives the tests that share it, with a webhook that has refused some events."""
    folder = tmp_path_factory.mktemp("server")
    await bury(folder, "crm", LETTERS, 4)
    async with WebhookReceiver() as receiver:
        crm = setting(receiver.endpoint("crm", channels=[LETTERS]))
        async with ServerProcess(folder, ENV | crm) as process:
            yield process
            assert process.faults() == []
            assert KEY not in process.output


@pytest_asyncio.fixture(loop_scope="module")
async def mortal(tmp_path: Path) -> AsyncIterator[ServerProcess]:
    """A server for one test, to be killed."""
    async with ServerProcess(tmp_path, ENV) as process:
        yield process


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A channel of the test's own."""
    return "room:" + re.sub(r"[^a-z0-9._-]", ".", request.node.name)


def client_of(server: ServerProcess, total: float = 60.0) -> MaruBackend:
    """A client that waits for a server which starts again."""
    return MaruBackend(f"http://127.0.0.1:{server.internal_port}", KEY, patience=Patience(total=total))
