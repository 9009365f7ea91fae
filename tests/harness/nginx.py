"""The real nginx with the configuration of `nginx-sticky/`, in front of servers that a test has started."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from tests.harness.process import Process
from tests.harness.server import ROOT
from tests.harness.waiting import polled

CONFIGURATION = ROOT / "nginx-sticky"

START_S = 10.0
STOP_S = 10.0

METHODS = {"sticky": None, "random": "random;\n"}
"""The content of affinity.conf; None leaves the file as it is."""

Method = Literal["sticky", "random"]


class NginxProcess(Process[asyncio.subprocess.Process]):
    """nginx on a port of 127.0.0.1, with everything that it writes in `folder`. Use as an async context manager.

    `backends` are the servers' public ports. `random` in place of `sticky` chooses a server for each request, whatever
    the cookie says. Only if `limited`, an address is limited: all tests have the same, but clients that come by a
    balancer, whose address is `behind`.
    """

    def __init__(
        self,
        folder: Path,
        backends: Sequence[int],
        method: Method = "sticky",
        *,
        limited: bool = False,
        behind: str | None = None,
    ) -> None:
        super().__init__(folder)
        self._limited = limited
        self._behind = behind
        self._configuration = folder / "nginx"
        self._access, self._errors = folder / "access.log", folder / "error.log"
        self._write(backends, METHODS[method])

    @property
    def workers(self) -> list[int]:
        """The processes that serve."""
        assert self._process is not None
        pid = self._process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    @property
    def output(self) -> str:
        """Everything that it wrote so far, access and errors, for searches."""
        return self._access.read_text() + self._errors.read_text()

    @property
    def requests(self) -> list[dict[str, Any]]:
        """The access log. A WebSocket is in it once it is closed."""
        return [json.loads(line) for line in self._access.read_text().splitlines()]

    async def start(self) -> None:
        """Start it, and wait until it listens."""
        with self._access.open("ab") as access, self._errors.open("ab") as errors:
            self._process = await asyncio.create_subprocess_exec(
                *self._command("-g", "daemon off;"), stdin=asyncio.subprocess.DEVNULL, stdout=access, stderr=errors
            )
        try:
            await polled(self._listens, START_S, lambda: f"nginx listens:\n{self.output}")
        except BaseException:
            await self.__aexit__()
            raise

    async def __aexit__(self, *_: object) -> None:
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)  # at once; the workers go with it
        async with asyncio.timeout(STOP_S):
            await self._process.wait()

    async def check(self) -> str:
        """Run `nginx -t`: return its output, fail if it complains."""
        process = await asyncio.create_subprocess_exec(
            *self._command("-t"), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        said = (await process.communicate())[0].decode()
        assert process.returncode == 0, said
        return said

    async def logged(self, wanted: Callable[[dict[str, Any]], bool], timeout: float = 10.0) -> dict[str, Any]:
        """Wait for a line of the access log."""
        found: list[dict[str, Any]] = []

        def holds() -> bool:
            found.extend(line for line in self.requests if wanted(line))
            return bool(found)

        await polled(holds, timeout, lambda: f"such a line:\n{self.output[-3000:]}")
        return found[0]

    def _command(self, *arguments: str) -> tuple[str, ...]:
        program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
        assert program is not None, "nginx not found: install nginx"
        main = str(self._configuration / "nginx.conf")
        return (program, "-p", str(self.folder), "-c", main, "-e", "stderr", *arguments)

    def _write(self, backends: Sequence[int], affinity: str | None) -> None:
        shutil.copytree(CONFIGURATION, self._configuration)
        listen = f"listen 127.0.0.1:{self.port} backlog=4096;\n"
        if self._behind is not None:
            listen += f"set_real_ip_from {self._behind};\nreal_ip_header X-Forwarded-For;\n"
        (self._configuration / "listen.conf").write_text(listen)
        lines = (f"server 127.0.0.1:{port} max_fails=0;\n" for port in backends)
        (self._configuration / "replicas.conf").write_text("".join(lines))
        if not self._limited:
            limits = self._configuration / "limits.conf"
            limits.write_text(limits.read_text().replace("default 0;", "default 1;"))
        if affinity is not None:
            (self._configuration / "affinity.conf").write_text(affinity)

    async def _listens(self) -> bool:
        assert self._process is not None
        assert self._process.returncode is None, f"nginx ended:\n{self.output}"
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        writer.close()
        return True
