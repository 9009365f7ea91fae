"""A real server in a process of its own: started, watched, killed and restarted by tests."""

import asyncio
import contextlib
import json
import os
import secrets
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp

from tests.harness.process import Process, free_port
from tests.harness.waiting import polled

ROOT = Path(__file__).parent.parent.parent

SECRET = os.environ.setdefault("TEST_JWT_SECRET", secrets.token_hex(32))
"""The HS256 secret of every server that a test starts: made once for a run, since the server takes no published one."""

LIMITS = {"MARU_LIMITS": "{}"}
"""In the environment of a server: the limits that are on by default."""

START_S = 30.0
"""Two cores that are busy with other tests take their time."""
STOP_S = 25.0


def _serves(line: Mapping[str, Any]) -> bool:
    """Whether a line, JSON or for people, says that the server accepts clients."""
    return line["event"] == "serving" or " serving " in line["event"]


class ServerProcess(Process[asyncio.subprocess.Process]):
    """`python -m server`, with a database that outlives restarts, and without limits: tests send hundreds of messages a
    second by a single user, and those of the limits turn them on (`LIMITS`). Use as an async context manager.

    `lines` are its log lines so far, parsed; `output` is everything that it wrote, for searches. `program` are
    the arguments of Python. `keep_secret` leaves a development server the secret of `env`, and none of the tests'.
    """

    def __init__(
        self,
        folder: Path,
        env: Mapping[str, str] | None = None,
        program: Sequence[str] = ("-m", "server"),
        *,
        keep_secret: bool = False,
    ) -> None:
        super().__init__(folder)
        self.internal_port = free_port()
        self._program = program
        self.lines: list[dict[str, Any]] = []
        self._output: list[str] = []
        self._arrived = asyncio.Condition()
        self._reader: asyncio.Task[None] | None = None
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("MARU_")}
        self._env = inherited | {
            "MARU_HOST": "127.0.0.1",
            "MARU_PORT": str(self.port),
            "MARU_INTERNAL_HOST": "127.0.0.1",
            "MARU_INTERNAL_PORT": str(self.internal_port),
            "MARU_JWT_SECRET": SECRET,
            "MARU_SQLITE_PATH": str(folder / "maru.db"),
            "MARU_LOG_FORMAT": "json",
            "MARU_LIMITS": "off",
            "PYTHONPATH": str(ROOT),
            **(env or {}),
        }
        if self._env.get("MARU_DEV", "0") != "0" and not keep_secret:
            self._keep_dev_secret()

    @property
    def output(self) -> str:
        """Everything that it wrote so far."""
        return "".join(self._output)

    def _keep_dev_secret(self) -> None:
        """Let a development server, which takes no secret of ours, find its own: the same."""
        self._env["MARU_JWT_SECRET"] = ""
        file = self.folder / ".maru-dev-secret"
        file.touch(0o600)
        file.write_text(SECRET)

    async def __aexit__(self, *_: object) -> None:
        if self._process is not None and self._process.returncode is None:
            await self.kill()

    async def start(self) -> None:
        """Start it (again, on the same ports and database), and wait until it serves."""
        began = len(self.lines)
        await self.launch()
        await self.logged(_serves, since=began, timeout=START_S)

    async def launch(self) -> None:
        """Start it, and do not wait."""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            *self._program,
            cwd=self.folder,
            env=self._env,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            limit=1 << 20,
        )
        self._reader = asyncio.create_task(self._read(self._process))

    async def ended(self) -> int:
        """Wait until it has ended, for any reason; return its exit code."""
        assert self._process is not None
        assert self._reader is not None
        code = await self._process.wait()
        await self._reader
        return code

    async def kill(self) -> None:
        """`kill -9`, and wait until it is gone."""
        await self._end(signal.SIGKILL)

    async def terminate(self) -> int:
        """SIGTERM; return the exit code."""
        return await self._end(signal.SIGTERM)

    async def counts(self) -> dict[str, Any]:
        """Return the body of `/readyz`."""
        url = f"http://127.0.0.1:{self.internal_port}/readyz"
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            body: dict[str, Any] = await response.json()
            return body

    def faults(self) -> list[dict[str, Any]]:
        """Return the lines that no healthy server writes: errors, and lines without a level, as of a traceback."""
        return [line for line in self.lines if line.get("level") not in {"debug", "info", "warning"}]

    def memory(self) -> int:
        """The process's resident bytes."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) * 1024

    async def settled(self, timeout: float = 10.0, **expected: int) -> None:
        """Wait until `/readyz` counts as expected, e.g. `connections=0`."""
        seen: dict[str, Any] = {}

        async def holds() -> bool:
            seen.update(await self.counts())
            return expected.items() <= seen.items()

        await polled(holds, timeout, lambda: f"{expected}; it counts {seen}")

    async def logged(
        self, wanted: Callable[[dict[str, Any]], bool], *, since: int = 0, timeout: float = 10.0
    ) -> dict[str, Any]:
        """Wait for a log line, among those from the index `since` on."""
        try:
            async with asyncio.timeout(timeout), self._arrived:
                while True:
                    for line in self.lines[since:]:
                        if wanted(line):
                            return line
                    await self._arrived.wait()
        except TimeoutError:
            raise AssertionError(f"no such line within {timeout} s; the output ends:\n{self.output[-3000:]}") from None

    async def lines_of(self, event: str, at_least: int, *, since: int = 0) -> list[dict[str, Any]]:
        """Wait for so many lines of an event, among those from the index `since` on: a line is written a moment later
        than what it tells of. Return all of the event's lines."""

        def found() -> list[dict[str, Any]]:
            return [line for line in self.lines[since:] if line.get("event") == event]

        if at_least:
            await self.logged(lambda _: len(found()) >= at_least, since=since)
        return found()

    async def _end(self, number: signal.Signals) -> int:
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)
        async with asyncio.timeout(STOP_S):
            return await self.ended()

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        async for raw in process.stdout:
            text = raw.decode(errors="replace")
            self._output.append(text)
            try:
                line = json.loads(text)
            except ValueError:
                line = {"event": text.rstrip("\n")}
            async with self._arrived:
                self.lines.append(line)
                self._arrived.notify_all()
