"""Child processes under a deadline, pinned to a core, and what /proc tells of them."""

import contextlib
import os
import random
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

START_S = 15.0
STOP_S = 2.0
"""Between asking and killing: a peer that waits for its clients to go is not waited for."""

GONE_S = 10.0
POLL_S = 0.02
"""Between two looks at a process that tells nobody when it is ready."""

PORTS = range(16_384, 32_768)
"""Below those that the system gives to outgoing connections."""


class NotAvailable(Exception):
    """A peer can't run here; the text says why, and stands in the report."""


class LoadFailed(Exception):
    """The clients could not do what was asked; the text says why."""


def free_port() -> int:
    """A port of 127.0.0.1 that nothing listens on. Raises `NotAvailable`."""
    for port in random.sample(PORTS, 100):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise NotAvailable("a hundred ports tried, and something listens on each")


def pause(seconds: float) -> None:
    """Let other processes work."""
    threading.Event().wait(seconds)


@contextlib.contextmanager
def pinned(core: int) -> Iterator[None]:
    """Run the block, and what it starts for good, on one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class Process:
    """A program on a core. Its output goes to a file, whose end is quoted when it fails to start."""

    def __init__(
        self, command: Sequence[str], core: int, env: Mapping[str, str] | None = None, folder: Path | None = None
    ) -> None:
        self._output = tempfile.TemporaryFile()  # noqa: SIM115  # open as long as the process
        try:
            with pinned(core):
                self._process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=self._output, stderr=self._output, env=env, cwd=folder
                )
        except OSError as error:
            self._output.close()
            raise NotAvailable(f"{command[0]}: {error.strerror}") from error

    @property
    def pid(self) -> int:
        """Of the program itself."""
        return self._process.pid

    def pids(self) -> list[int]:
        """The program and its children."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return [self.pid, *map(int, children)]

    def listens(self, port: int) -> None:
        """Wait until it takes connections. Raises `NotAvailable` with what it said instead."""
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline and self._process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1.0):
                return
            pause(POLL_S)
        raise NotAvailable(f"it did not listen within {START_S:.0f} s: {self.said()}")

    def has_children(self) -> None:
        """Wait until it has a child: nginx listens before its worker is there. Raises `NotAvailable`, after its end."""
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline and self._process.poll() is None:
            if len(self.pids()) > 1:
                return
            pause(POLL_S)
        said = self.said()
        self.stop()
        raise NotAvailable(f"it has no worker after {START_S:.0f} s: {said}")

    def said(self) -> str:
        """The end of its output, in one line."""
        self._output.seek(0)
        return self._output.read()[-400:].decode(errors="replace").replace("\n", " ") or "(no output)"

    def stop(self) -> None:
        """End it, and wait until it is gone."""
        self._process.terminate()
        try:
            self._process.wait(timeout=STOP_S)
        except subprocess.TimeoutExpired:
            for pid in reversed(self.pids()):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._process.wait(timeout=GONE_S)
        self._output.close()


def cpu_s(pids: Sequence[int]) -> float:
    """User and system time so far.

    The scheduler counts nanoseconds, but for living threads only; the total includes ended threads, in ticks of
    10 ms: the larger of the two is never off by more than a tick. Processes that have ended count nothing: a store may
    replace some of its own.
    """
    total = 0.0
    for pid in pids:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            total += max(_scheduled_s(pid), _ticks_s(pid))
    return total


def main_thread_s(pid: int) -> float:
    """User and system time of a process's main thread so far."""
    return int(Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()[0]) / 1e9


def _scheduled_s(pid: int) -> float:
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError, IndexError):
            total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def _ticks_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_kib(pids: Sequence[int]) -> int:
    """Resident."""
    return sum(int(Path(f"/proc/{pid}/status").read_text().partition("VmRSS:")[2].split()[0]) for pid in pids)


def files(pids: Sequence[int]) -> int:
    """Open descriptors: how a server's connections are counted from outside, whichever server it is."""
    return sum(
        len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208  # thousands, of which the names do not matter
        for pid in pids
    )
