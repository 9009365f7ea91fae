"""The examples for backends, run as they stand: each in the language that it is written in, against a real server."""

import asyncio
import json
import os
import re
import shutil
import sys
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.clients.raw import RawSocket
from tests.harness.dead_letters import bury
from tests.harness.protocol_document import alike
from tests.harness.receiver import WebhookReceiver, setting
from tests.harness.server import ROOT, ServerProcess
from tests.harness.tokens import token

DOCUMENT = (ROOT / "docs/http-api.md").read_text("utf-8")

README = (ROOT / "README.md").read_text("utf-8").partition("\n## For backends\n")[2].partition("\n## ")[0]

SDK = (ROOT / "clients/python-backend/README.md").read_text("utf-8")

Block = tuple[str, str]
"""Language and text of an example."""


def blocks(document: str) -> list[Block]:
    """The examples, in the order of the page."""
    return re.findall(r"^```(\w+)\n(.*?)^```$", document, re.MULTILINE | re.DOTALL)


BLOCKS = blocks(DOCUMENT)

ADDRESS = "http://127.0.0.1:9090"
"""Stands in examples for the server's."""

KEY = "canary-of-the-examples-0f1e2d3c4b5a"

BETWEEN = "--- next example ---"

RUN_S = 60.0


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ServerProcess]:
    """A server with the key of the examples, and with a webhook that has refused some events."""
    folder = tmp_path_factory.mktemp("server")
    await bury(folder, "crm", "room:41", 2)
    async with WebhookReceiver() as receiver:
        crm = setting(receiver.endpoint("crm", channels=["room:41"]))
        async with ServerProcess(folder, {"MARU_API_KEYS": KEY} | crm) as process:
            yield process
            assert process.faults() == []
            assert KEY not in process.output


async def run(server: ServerProcess, *command: str, stdin: str) -> str:
    """Run a program that reads its text from stdin; return what it prints."""
    address = f"http://127.0.0.1:{server.internal_port}"
    program = shutil.which(command[0])
    assert program is not None, f"{command[0]} not found: install it"
    env = {
        "PATH": os.environ["PATH"],
        "MARU": address,
        "KEY": KEY,
        "PYTHONPATH": str(ROOT / "clients/python-backend"),
    }
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        program, *command[1:], env=env, stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.STDOUT
    )
    async with asyncio.timeout(RUN_S):
        output, _ = await process.communicate(stdin.replace(ADDRESS, address).encode())
    assert process.returncode == 0, output.decode()
    return output.decode()


async def test_curl(server: ServerProcess) -> None:
    """All of them in one shell, in their order: the answers have the documented fields; no other has an answer. Ann is
    in the channel."""
    shell = [(place, text) for place, (language, text) in enumerate(BLOCKS) if language == "sh"]
    script = f"\necho '{BETWEEN}'\n".join(text for _, text in shell)
    ann = await RawSocket.chat(server.port, token("ann"))
    assert (await ann.ask("channel:join", {"channel": "room:42"}))["ok"]
    async with ann.showing_life():
        outputs = (await run(server, "bash", "-eu", "-o", "pipefail", "-s", stdin=script)).split(BETWEEN)
    ann.vanish()
    assert len(outputs) == len(shell) > 5
    for (place, text), output in zip(shell, outputs, strict=True):
        language, documented = BLOCKS[place + 1]
        if language == "json":
            assert alike(json.loads(documented), json.loads(output)), (text, output)
        else:
            assert output.strip() == "", (text, output)


async def test_node(server: ServerProcess) -> None:
    """The function and its calls; it prints as documented."""
    place = next(place for place, (language, _) in enumerate(BLOCKS) if language == "js")
    assert await run(server, "node", "--input-type=module", "-", stdin=BLOCKS[place][1]) == BLOCKS[place + 1][1]


async def test_python(server: ServerProcess) -> None:
    """Each program of each page runs."""
    programs = [text for page in (DOCUMENT, README, SDK) for language, text in blocks(page) if language == "python"]
    assert len(programs) == 2
    for program in programs:
        assert await run(server, sys.executable, "-", stdin=program)


async def test_the_readme(server: ServerProcess) -> None:
    """Its curl writes a message."""
    ((_, command),) = [block for block in blocks(README) if block[0] == "sh"]
    answer = json.loads(await run(server, "bash", "-eu", stdin=command))
    assert answer["message"]["text"] == "Your order is on its way"
