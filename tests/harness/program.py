"""A child process that reads and writes JSON lines."""

import asyncio
import json
import os
import signal
from collections.abc import Callable, Mapping
from typing import Any, Self

from tests.harness.server import ROOT

EXIT_S = 20.0
LINE_BYTES = 1 << 24
"""A line may be a whole replay, or all acks of a client."""

Json = dict[str, Any]


class Program:
    """Use as an async context manager. On leaving, the program's input is closed: it has to end by itself, with exit
    code 0 and an empty standard error.

    `react` is called with each line; without it, every line is the answer to an `ask`.
    """

    def __init__(self, *command: str, react: Callable[[Json], None] | None = None) -> None:
        self._command = command
        self._react = react or self.answer
        self._answers: asyncio.Queue[Json | None] = asyncio.Queue()  # None: the program has ended
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._complaints: asyncio.Task[bytes] | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def start(self) -> None:
        """Start the program. Without the context manager, `kill` it at the end."""
        pipe = asyncio.subprocess.PIPE
        paths = os.pathsep.join((str(ROOT), str(ROOT / "clients/python-bot")))
        environment = os.environ | {"PYTHONPATH": paths}
        self._process = await asyncio.create_subprocess_exec(
            *self._command, cwd=ROOT, env=environment, stdin=pipe, stdout=pipe, stderr=pipe, limit=LINE_BYTES
        )
        assert self._process.stderr is not None
        self._reader = asyncio.create_task(self._read(self._process))
        self._complaints = asyncio.create_task(self._process.stderr.read())

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._reader is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(EXIT_S if kind is None else 0):
                await self._reader
                code = await self._process.wait()
        except TimeoutError:
            assert kind is not None, f"{self} did not end within {EXIT_S} s"
            return
        finally:
            await self.kill()
        complaints = await self._said()
        assert (code, complaints) == (0, ""), f"{self} ended with {code}:\n{complaints}"

    def __str__(self) -> str:
        return " ".join(self._command)

    def say(self, line: Mapping[str, object]) -> None:
        """Give the program a line."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(line).encode() + b"\n")

    async def ask(self, order: Mapping[str, object], timeout: float) -> Json:
        """Give the program a line, and return its answer."""
        self.say(order)
        try:
            async with asyncio.timeout(timeout):
                answer = await self._answers.get()
        except TimeoutError:
            raise AssertionError(f"{self}: no answer to {str(order)[:200]} within {timeout} s") from None
        assert answer is not None, f"{self} has ended:\n{await self._said()}"
        return answer

    def answer(self, line: Json) -> None:
        """Take a line as the answer to `ask`."""
        self._answers.put_nowait(line)

    def freeze(self) -> None:
        """SIGSTOP: its connections stay, and it answers nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    async def kill(self) -> None:
        """`kill -9`, and wait until the program is gone. A second time does nothing."""
        assert self._process is not None
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
        assert self._reader is not None
        await asyncio.wait((self._reader,))
        await self._said()

    async def _said(self) -> str:
        assert self._complaints is not None
        return (await self._complaints).decode(errors="replace")[-3000:]

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            self._react(json.loads(line))
        self._answers.put_nowait(None)
