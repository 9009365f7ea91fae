"""Who reads the server's output, and how fast, is no matter of the clients: pipes that nobody reads, or that break."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from tests.clients.raw import RawSocket
from tests.harness.attack import Attack, command
from tests.harness.process import Process, free_port
from tests.harness.server import ROOT, SECRET, START_S, STOP_S, ServerProcess
from tests.harness.tokens import token
from tests.harness.waiting import polled

COMMANDS = 1_000

FLOOD = b"".join(command("no:command", {}, ack) for ack in range(COMMANDS))

FLOOD_S = 60.0
"""For more lines than find room: a few seconds, unless the machine has other things to do."""

LINES = 3
"""Of a session's commands, in a second."""

DROPPED = "maru_log_lines_dropped_total "


class PipedServer(Process["subprocess.Popen[bytes]"]):
    """A server whose output nobody reads until `read` is called."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.internal_port = free_port()
        self._reading, self._writing = os.pipe()

    async def start(self) -> None:
        """Start it, and wait until its probes answer."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("MARU_")}
        env = inherited | {
            "MARU_HOST": "127.0.0.1",
            "MARU_PORT": str(self.port),
            "MARU_INTERNAL_HOST": "127.0.0.1",
            "MARU_INTERNAL_PORT": str(self.internal_port),
            "MARU_JWT_SECRET": SECRET,
            "MARU_MESSAGE_LOG": "memory",
            "MARU_LOG_COMMANDS_PER_SECOND": "0",
            "PYTHONPATH": str(ROOT),
        }
        self._process = subprocess.Popen(  # noqa: ASYNC220  # asyncio would read the pipe
            [sys.executable, "-m", "server"], cwd=self.folder, env=env, stdout=self._writing, stderr=self._writing
        )
        os.close(self._writing)
        await polled(self._answers, START_S, lambda: "the probes do not answer")

    async def __aexit__(self, *_: object) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            await self.ended()
        self.hang_up()

    def hang_up(self) -> None:
        """Close the pipe, as a reader does that has ended."""
        if self._reading >= 0:
            os.close(self._reading)
            self._reading = -1

    async def read(self) -> str:
        """Read all that was written, to the end of the process."""
        async with asyncio.timeout(STOP_S):
            with os.fdopen(self._reading, "rb") as reader:
                self._reading = -1
                return (await asyncio.to_thread(reader.read)).decode()

    async def ended(self) -> int:
        """Wait for its end; return the exit code."""
        assert self._process is not None
        return await asyncio.to_thread(self._process.wait, STOP_S)

    async def dropped(self) -> int:
        """Return how many log lines it has lost."""
        text = await self._get("/metrics")
        return int(float(text.partition(f"\n{DROPPED}")[2].partition("\n")[0]))

    async def _get(self, path: str) -> str:
        url = f"http://127.0.0.1:{self.internal_port}{path}"
        async with aiohttp.ClientSession() as http, http.get(url) as response:
            return await response.text()

    async def _answers(self) -> bool:
        try:
            return bool(await self._get("/livez"))
        except aiohttp.ClientConnectionError:
            return False


@pytest_asyncio.fixture
async def piped(tmp_path: Path) -> AsyncIterator[PipedServer]:
    """A server of its own."""
    async with PipedServer(tmp_path) as running:
        yield running


async def _flooded(server: PipedServer) -> None:
    """Make the server lose lines, by commands; another client's commands are answered meanwhile."""
    victim = await RawSocket.chat(server.port, token("victim"))
    attack = Attack(server.port, FLOOD, token=token("attacker"))
    async with asyncio.timeout(FLOOD_S):
        while not await server.dropped():
            await attack.run(1, 0.2)
            assert (await victim.ask("message:send", {"channel": "room:1", "text": "x"}))["ok"]
    await victim.leave()


async def test_a_reader_that_stops_holds_nobody_up(piped: PipedServer) -> None:
    """Clients and probes are answered, lines are counted as lost, and the server stops in time, without a reader."""
    await _flooded(piped)
    piped.send_signal(signal.SIGTERM)
    assert await piped.ended() == 0


async def test_a_reader_that_goes_on_learns_what_is_missing(piped: PipedServer) -> None:
    """The first lines and the last are there, and between them how many are not."""
    await _flooded(piped)
    lost = await piped.dropped()
    reading = asyncio.create_task(piped.read())
    piped.send_signal(signal.SIGTERM)
    text = await reading
    assert '"event":"serving"' in text
    assert '"event":"log.dropped","count":' in text
    assert text.endswith('"event":"stopped","logger":"maru.server"}\n')
    assert await piped.ended() == 0
    assert lost > 0


async def test_a_reader_that_is_gone_costs_its_lines_alone(piped: PipedServer) -> None:
    """The server goes on, and counts."""
    piped.hang_up()
    await _flooded(piped)
    piped.send_signal(signal.SIGTERM)
    assert await piped.ended() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_stop_writes_all_lines(piped: PipedServer, number: signal.Signals) -> None:
    """The last of them, too."""
    piped.send_signal(number)
    text = await piped.read()
    assert await piped.ended() == 0
    assert text.endswith('"event":"stopped","logger":"maru.server"}\n')


async def test_a_flood_of_commands_is_a_few_lines(tmp_path: Path) -> None:
    """Each command is in a line, or in the number of a second's lines that are missing."""
    async with ServerProcess(tmp_path, {"MARU_LOG_COMMANDS_PER_SECOND": str(LINES)}) as server:
        client = await RawSocket.chat(server.port, token("flood"))
        await client.send(FLOOD)
        await client.ack(COMMANDS - 1)

        def told() -> tuple[int, list[int]]:
            lines = [line for line in server.lines if line.get("user") == "flood"]
            numbers = [line["suppressed"] for line in lines if line["event"] == "command.suppressed"]
            return sum(line["event"] == "command" for line in lines), numbers

        await server.logged(lambda _: told()[0] + sum(told()[1]) == COMMANDS)
        written, numbers = told()
        assert written <= (LINES + 1) * (len(numbers) + 1)
        await client.leave()
