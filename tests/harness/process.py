"""A server in a process of its own, on a port of 127.0.0.1."""

import asyncio
import contextlib
import os
import random
import signal
import socket
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Generic, Self, TypeVar

P = TypeVar("P", asyncio.subprocess.Process, "subprocess.Popen[bytes]")

PORTS = range(16_384, 32_768)
"""Below the ports that the system gives to outgoing connections: else such a connection could take the port of a server
that is about to start, or is being restarted."""


def _ports() -> Iterator[int]:
    """Yield ports in a random order, each again only after all the others; of several workers (pytest-xdist) each has
    its own. A server takes its port seconds after it was chosen: nobody else may choose it meanwhile."""
    worker, workers = os.environ.get("PYTEST_XDIST_WORKER", "gw0"), os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")
    own = PORTS[int(worker.removeprefix("gw")) :: int(workers)]
    while True:
        yield from random.sample(own, len(own))


_own_ports = _ports()


def free_port() -> int:
    """Return a port of 127.0.0.1 that nothing listens on."""
    for port in islice(_own_ports, 100):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise AssertionError("a hundred ports tried, and something listens on each")


class Process(ABC, Generic[P]):
    """The base of the servers that tests start, freeze, kill and restart, on the same port and data in `folder`."""

    scheme = "http"

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.folder = folder
        self._process: P | None = None

    @property
    def url(self) -> str:
        """The address for clients."""
        return f"{self.scheme}://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The running process."""
        assert self._process is not None
        return self._process.pid

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:  # whatever it is, the process must not stay
            if self._process is not None and self._process.returncode is None:
                self.send_signal(signal.SIGKILL)
            raise
        return self

    @abstractmethod
    async def start(self) -> None:
        """Start it (again), and wait until it serves."""

    def send_signal(self, number: signal.Signals) -> None:
        """Send any signal."""
        os.kill(self.pid, number)

    def freeze(self) -> None:
        """SIGSTOP: connections stay, nothing is answered."""
        self.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self.send_signal(signal.SIGCONT)
