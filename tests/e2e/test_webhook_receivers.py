"""The receivers of PROTOCOL.md, run as they stand there: both are told what happens, and refuse what is not signed."""

import asyncio
import os
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from tests.harness.backend import API_ENV, call
from tests.harness.process import free_port
from tests.harness.protocol_document import section
from tests.harness.receiver import SECRET, setting
from tests.harness.server import ServerProcess
from tests.harness.waiting import polled

LANGUAGES = {"python": ("receiver.py", sys.executable), "js": ("receiver.mjs", shutil.which("node") or "node")}


def source(language: str) -> str:
    """Return the receiver in a language."""
    return section("Webhooks").partition(f"```{language}\n")[2].partition("```")[0]


@asynccontextmanager
async def running(folder: Path, language: str) -> AsyncIterator[tuple[int, asyncio.StreamReader]]:
    """Run a receiver; give its port and its output."""
    name, program = LANGUAGES[language]
    (folder / name).write_text(source(language))
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        program,
        name,
        cwd=folder,
        env=os.environ | {"MARU_WEBHOOK_SECRET": SECRET, "PORT": str(port)},
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        await polled(lambda: _status(port), 15.0, lambda: f"{name} listens")
        yield port, process.stdout
    finally:
        process.kill()
        await process.wait()


async def _status(port: int) -> bool:
    """Whether something listens there, and refuses a request without a signature."""
    try:
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"http://127.0.0.1:{port}/maru", data=b"{}") as response,
        ):
            return response.status in {401, 500}
    except aiohttp.ClientError:
        return False


@pytest.mark.parametrize("language", LANGUAGES)
async def test_a_receiver_of_the_document(tmp_path: Path, language: str) -> None:
    """It verifies and prints each event."""
    (tmp_path / "server").mkdir()
    async with running(tmp_path, language) as (port, output):
        told = setting({"name": "crm", "url": f"http://127.0.0.1:{port}/maru", "secret": SECRET})
        env = {"MARU_MESSAGE_LOG": "memory", **API_ENV, **told}
        async with ServerProcess(tmp_path / "server", env) as server, asyncio.timeout(30):
            await server.lines_of("webhook.leads", 1)
            for text in "ab":
                body = {"author": {"id": "alice"}, "text": text}
                assert (await call(server, "POST", "/channels/room:1/messages", body))[0] == 200
            assert await output.readline() == b"message.created room:1 1\n"
            assert await output.readline() == b"message.created room:1 2\n"
            await server.terminate()
