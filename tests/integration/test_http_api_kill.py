"""`kill -9` between a message's place in the log and its answer: the repeat with the same key finds it."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from tests.clients.backend import API_KEY, Backend
from tests.harness.redis import RedisProcess
from tests.harness.server import ServerProcess

DIES = """
import os, signal, sys
from server.application.messages.writing import Writing
written, left = Writing._written, [COUNT]

def last(self, *arguments):
    left[0] -= 1
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    written(self, *arguments)

Writing._written = last
from server.__main__ import main
sys.exit(main())
"""
"""A server that dies when COUNT messages are in the log, the last of which has not been answered."""

CHANNELS = [f"room:{number}" for number in range(1_000)]
BAD = {"room:7": "Room:7", "room:500": "", "room:999": "room/999"}


@pytest_asyncio.fixture(params=["sqlite", "redis"])
async def env(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[dict[str, str]]:
    """Settings of a server whose log outlives it."""
    async with AsyncExitStack() as stack:
        env = {"MARU_API_KEYS": API_KEY}
        if request.param == "redis":
            folder = tmp_path / "redis"
            folder.mkdir()
            env["MARU_REDIS_URL"] = (await stack.enter_async_context(RedisProcess(folder))).url
        yield env


async def test_a_repeat_after_a_kill(env: dict[str, str], tmp_path: Path) -> None:
    """The first answer never came; the second is that of the message that is there, once."""
    async with ServerProcess(tmp_path, env, ("-c", DIES.replace("COUNT", "3"))) as dying:
        async with Backend(f"http://127.0.0.1:{dying.internal_port}") as backend:
            for number in (1, 2):
                assert (await backend.post("room:1", f"message {number}", key=f"k{number}")).status == 200
            with pytest.raises(aiohttp.ClientError):
                await backend.post("room:1", "message 3", key="k3")
        assert await dying.ended() == -9
    async with ServerProcess(tmp_path, env) as server, Backend(f"http://127.0.0.1:{server.internal_port}") as backend:
        again = await backend.post("room:1", "message 3", key="k3")
        assert (again.status, again.body["duplicate"], again.body["offset"]) == (200, True, 3)
        assert again.headers["Idempotency-Replayed"] == "true"
        page = (await backend.ask("GET", "/channels/room:1/messages")).body
        assert [each["text"] for each in page["messages"]] == ["message 1", "message 2", "message 3"]


async def test_a_broadcast_after_a_kill(env: dict[str, str], tmp_path: Path) -> None:
    """Whatever had been written when the server died, the repeat leaves one message in each channel."""
    body = {"channels": [BAD.get(name, name) for name in CHANNELS], "author": {"id": "alice"}, "text": "to all"}
    async with ServerProcess(tmp_path, env, ("-c", DIES.replace("COUNT", "500"))) as dying:
        async with Backend(f"http://127.0.0.1:{dying.internal_port}") as backend:
            with pytest.raises(aiohttp.ClientError):
                await backend.ask("POST", "/broadcast", body, Idempotency_Key="all")
        assert await dying.ended() == -9
    async with ServerProcess(tmp_path, env) as server, Backend(f"http://127.0.0.1:{server.internal_port}") as backend:
        first = (await backend.ask("POST", "/broadcast", body, Idempotency_Key="all")).body
        assert (first["failed"], len(first["results"])) == (3, 1_000)
        written = [each for each in first["results"] if each["ok"]]
        assert {each["offset"] for each in written} == {1}
        assert 499 <= sum(each["duplicate"] for each in written) < 997
        again = (await backend.ask("POST", "/broadcast", body, Idempotency_Key="all")).body
        assert [each.get("id") for each in again["results"]] == [each.get("id") for each in first["results"]]
