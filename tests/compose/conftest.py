"""The running deployment of `docker-compose.test.yml`, as `deploy/compose-test.sh` tells of it; none, no tests."""

import asyncio
import os
import shlex
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio
from aiohttp import ClientConnectionError, ClientSession, DummyCookieJar

READY_S = 60.0
"""From `up` to the first handshake: images start at their own pace, and no engine here says when they have."""

COMMAND_S = 60.0
LOOK_S = 0.5

if "FRONT_PORT" not in os.environ:
    collect_ignore_glob = ["test_*.py"]


class Deployment:
    """What can be seen and done from outside: the front, the replicas' probes, and the engine's commands."""

    def __init__(self, http: ClientSession) -> None:
        self.url = f"http://127.0.0.1:{os.environ['FRONT_PORT']}"
        self.probes = {app: f"http://127.0.0.1:{os.environ[f'{app.upper()}_PORT']}" for app in ("app1", "app2")}
        self.http = http

    async def compose(self, *arguments: str) -> str:
        """Run a command of docker compose or of what stands in for it; return what it said."""
        process = await asyncio.create_subprocess_exec(
            *shlex.split(os.environ["COMPOSE"]),
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        async with asyncio.timeout(COMMAND_S):
            said, _ = await process.communicate()
        text = said.decode(errors="replace")
        assert process.returncode == 0, text
        return text

    async def run(self, service: str, command: str) -> str:
        """Run a shell's command in a container; return what it said. Not every engine passes its exit code on."""
        return await self.compose("exec", "-T", service, "sh", "-c", command)

    async def counts(self, app: str) -> dict[str, Any]:
        """What a replica's `/readyz` says."""
        async with self.http.get(f"{self.probes[app]}/readyz") as response:
            body: dict[str, Any] = await response.json()
            return body

    async def sessions(self) -> list[int]:
        """How many each replica has."""
        return [(await self.counts(app))["sessions"] for app in self.probes]

    async def ready(self) -> None:
        """Wait until the replicas and the front all answer as they should."""
        wanted = [(f"{probe}/readyz", 200) for probe in self.probes.values()] + [(f"{self.url}/session", 401)]
        deadline = time.monotonic() + READY_S
        while (seen := [await self._status(url) for url, _ in wanted]) != [status for _, status in wanted]:
            assert time.monotonic() < deadline, f"not ready after {READY_S} s: {wanted} answer {seen}"
            await asyncio.sleep(LOOK_S)

    async def _status(self, url: str) -> int | None:
        try:
            async with (
                asyncio.timeout(2.0),
                self.http.post(url) if url.startswith(self.url) else self.http.get(url) as it,
            ):
                return it.status
        except (ClientConnectionError, TimeoutError):
            return None


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def deployment() -> AsyncIterator[Deployment]:
    """The deployment, ready."""
    async with ClientSession(cookie_jar=DummyCookieJar()) as http:
        found = Deployment(http)
        await found.ready()
        yield found
