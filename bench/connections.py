"""What a connection costs: memory of an idle joined one, and handshakes a second with token and join.

The server is the real one, with its log lines (to nowhere) and its SQLite file; the clients live in a process of their
own. One core each, where there are two. The rate depends on the clients' speed too, the processor time does not.
"""

import asyncio
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from tests.harness.server import SECRET, free_port

COUNT = 2_000
FIRST = 1_000
"""Clients that come before those whose joining is timed: code paths are warm then."""

START_S = 15.0
STEP_S = 60.0

GOALS_KIB = {"uvloop": 8.0, "asyncio": 12.0}
GOAL_RATE = 2_500


@dataclass(frozen=True)
class Server:
    """A running server."""

    pid: int
    port: int
    internal_port: int

    def memory_kib(self) -> int:
        """Resident."""
        return int(Path(f"/proc/{self.pid}/status").read_text().partition("VmRSS:")[2].split()[0])

    def cpu_s(self) -> float:
        """User and system time so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    async def connections(self) -> int:
        """As the server counts them."""
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{self.internal_port}/readyz") as response,
        ):
            return int((await response.json())["connections"])

    async def reach(self, connections: int) -> float:
        """Wait until so many are counted; return the seconds."""
        began = time.perf_counter()
        async with asyncio.timeout(STEP_S):
            counted = await self.connections()
            while counted != connections:
                await asyncio.sleep(0.01)
                counted = await self.connections()
        return time.perf_counter() - began


@asynccontextmanager
async def serving(loop: str, folder: Path) -> AsyncIterator[Server]:
    """A server on an event loop."""
    port, internal_port = free_port(), free_port()
    env = {name: value for name, value in os.environ.items() if not name.startswith("MARU_")} | {
        "MARU_HOST": "127.0.0.1",
        "MARU_PORT": str(port),
        "MARU_INTERNAL_HOST": "127.0.0.1",
        "MARU_INTERNAL_PORT": str(internal_port),
        "MARU_JWT_SECRET": SECRET,
        "MARU_SQLITE_PATH": str(folder / "maru.db"),
        "MARU_EVENT_LOOP": loop,
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "server", env=env, stdout=asyncio.subprocess.DEVNULL
    )
    try:
        server = Server(process.pid, port, internal_port)
        async with asyncio.timeout(START_S):
            while True:
                with suppress(aiohttp.ClientError):
                    await server.connections()
                    break
                await asyncio.sleep(0.05)
        yield server
    finally:
        process.kill()
        await process.wait()


class Crowd:
    """The clients' process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def do(self, what: str) -> float:
        """Give an order; return the seconds that it took, as the clients saw it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(what.encode() + b"\n")
        async with asyncio.timeout(STEP_S):
            answer = json.loads(await self._process.stdout.readline())
        return float(answer["seconds"])


@asynccontextmanager
async def crowding(server: Server) -> AsyncIterator[Crowd]:
    """A crowd for a server."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bench.crowd",
        str(server.port),
        SECRET,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield Crowd(process)
    finally:
        process.kill()
        await process.wait()


@dataclass(frozen=True)
class Result:
    """What one event loop showed. `kib` has in it what the first clients make the process keep for good, and garbage;
    `further_kib` is without, and may profit from garbage that was collected meanwhile: the truth lies between."""

    kib: float
    further_kib: float
    rate: float
    cpu_ms: float
    leave_s: float


async def measure(loop: str, count: int) -> Result:
    """Fill a server with idle clients, and empty it."""
    with tempfile.TemporaryDirectory() as folder:
        async with serving(loop, Path(folder)) as server, crowding(server) as crowd:
            empty = server.memory_kib()
            await crowd.do(f"open {FIRST}")
            some, cpu = server.memory_kib(), server.cpu_s()
            seconds = await crowd.do(f"open {count}")
            cpu = server.cpu_s() - cpu
            full = server.memory_kib()
            await crowd.do("close")
            leave_s = await server.reach(0)
    return Result(
        (full - empty) / (FIRST + count), (full - some) / count, count / seconds, cpu / count * 1_000, leave_s
    )


async def run() -> None:
    """Print a table, one line an event loop."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    count = min(COUNT, hard - FIRST - 200)
    print(f"{FIRST} + {count} clients: handshake, token, channel:join; then idle; then all leave (limit: {soft} files)")
    heads = ("KiB each", "goal", "ratio", "further", "joins/s", "goal", "ratio", "CPU ms", "joins/s CPU", "all gone, s")
    print(f"{'':8}" + "".join(f"{head:>12}" for head in heads))
    for loop, goal in GOALS_KIB.items():
        result = await measure(loop, count)
        rate = (f"{result.rate:.0f}", f"{GOAL_RATE}", f"{result.rate / GOAL_RATE:.2f}")
        memory = (f"{result.kib:.1f}", f"{goal:.0f}", f"{result.kib / goal:.2f}", f"{result.further_kib:.1f}")
        cpu = (f"{result.cpu_ms:.3f}", f"{1_000 / result.cpu_ms:.0f}", f"{result.leave_s:.2f}")
        print(f"{loop:8}" + "".join(f"{cell:>12}" for cell in (*memory, *rate, *cpu)))
