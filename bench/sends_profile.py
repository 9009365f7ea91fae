"""What a durable send costs: processor time, sends a second, and the wait for the ack, on SQLite and on Redis.

    python -m bench.sends_profile [--log sqlite|redis|memory] [--clients N] [--members N] [--rate N] ...

The server has the first core to itself; the clients (this process), and Redis, have the second. Every client has one
send in flight (`--depth` for more) until `--rate` paces all of them together. The processor time is the server's own,
user and system, and does not depend on what else the machine does; the rate and the waits do.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import cast

import uvloop

from bench.connections import Server
from bench.crowd import HANDSHAKE, PING, PONG, frame, mint
from tests.harness.server import SECRET, free_port

START_S = 15.0
SETTLE_S = 10.0
WARM_S = 1.0

ACK = b"43/chat,"
OK = b'"ok":true'


class Sender(asyncio.Protocol):
    """One client. It sends when it is told to, counts the acks, and notes how long each took."""

    def __init__(self, run: "Run", number: int) -> None:
        self._run = run
        self._token = mint(SECRET, f"user-{number}")
        self.channel = f"room:{number % run.channels}"
        self._began: deque[float] = deque()
        self._frame = frame(
            f'42/chat,1["message:send",{{"channel":"{self.channel}","text":"{"x" * run.size}","key":null}}]'
        )
        self.entered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.idle = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Shake hands."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass
        self._transport.write(HANDSHAKE)

    def data_received(self, data: bytes) -> None:
        """Connect; then count."""
        if PING in data and len(data) < 16:  # alone in its read, as it is on a quiet connection
            self._transport.write(PONG)
        if not self.entered.done():
            self._enter(data)
            return
        acks = data.count(ACK)
        if acks:
            self._run.failed += acks - data.count(OK)
            now = time.perf_counter()
            for _ in range(acks):
                self._run.waits.append(now - self._began.popleft())
            if self._run.closed_loop and self._run.going:
                self.send(acks)

    def _enter(self, data: bytes) -> None:
        if b'"maxPayload"' in data:
            self._transport.write(frame(f'40/chat,{{"token":"{self._token}"}}'))
        if b'"session:ready"' in data:
            self.entered.set_result(None)

    def send(self, count: int = 1) -> None:
        """Send the message so many times."""
        now = time.perf_counter()
        self._began.extend((now,) * count)
        self._transport.write(self._frame * count)

    @property
    def waiting(self) -> int:
        """Acks that are to come."""
        return len(self._began)

    def connection_lost(self, exc: Exception | None) -> None:
        """It must not happen while sends are counted."""
        self._run.failed += len(self._began)


class Member(Sender):
    """One who has joined, and only listens."""

    def __init__(self, run: "Run", number: int) -> None:
        super().__init__(run, number)
        self._number = number
        self.joined: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        """Join; then count what comes."""
        if not self.joined.done() and ACK in data:
            self.joined.set_result(None)
        elif not self.entered.done():
            self._enter(data)
            if self.entered.done():
                self._transport.write(frame(f'42/chat,1["channel:join",{{"channel":"{self.channel}"}}]'))
        else:
            self._run.delivered += data.count(b'"message:created"')
            if PING in data and len(data) < 16:  # as above
                self._transport.write(PONG)


class Run:
    """Counters, and what the clients go by."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.channels: int = options.channels
        self.size: int = options.size
        self.closed_loop = not options.rate
        self.going = True
        self.waits: list[float] = []
        self.failed = self.delivered = 0


@contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    """A Redis of its own, on the clients' core; yields its URL."""
    port = free_port()
    arguments = ("--port", str(port), "--save", "", "--appendonly", "yes", "--appendfsync", "everysec")
    process = subprocess.Popen(
        ("taskset", "-c", "1", "redis-server", *arguments, "--dir", str(folder)), stdout=subprocess.DEVNULL
    )
    try:
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.kill()
        process.wait()


@asynccontextmanager
async def serving(log: str, folder: Path, redis_url: str | None, extra: Sequence[str]) -> AsyncIterator[Server]:
    """A server on the first core."""
    port, internal_port = free_port(), free_port()
    env = {name: value for name, value in os.environ.items() if not name.startswith("MARU_")} | {
        "MARU_HOST": "127.0.0.1",
        "MARU_PORT": str(port),
        "MARU_INTERNAL_HOST": "127.0.0.1",
        "MARU_INTERNAL_PORT": str(internal_port),
        "MARU_JWT_SECRET": SECRET,
        "MARU_SQLITE_PATH": str(folder / "maru.db"),
        "MARU_MESSAGE_LOG": log,
    }
    if redis_url is not None:
        env |= {"MARU_REDIS_URL": redis_url}
    env |= dict(cast("tuple[str, str]", tuple(pair.split("=", 1))) for pair in extra)
    process = await asyncio.create_subprocess_exec(
        "taskset", "-c", "0", sys.executable, "-m", "server", env=env, stdout=asyncio.subprocess.DEVNULL
    )
    try:
        server = Server(process.pid, port, internal_port)
        async with asyncio.timeout(START_S):
            while process.returncode is None:
                with suppress(OSError):
                    await server.connections()
                    break
                await asyncio.sleep(0.05)
            else:
                raise SystemExit(f"the server ended with {process.returncode}: start it by hand to see why")
        yield server
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def enter(kind: type[Sender], run: Run, port: int, count: int, first: int) -> list[Sender]:
    """Bring in clients, some at a time."""
    loop, clients = asyncio.get_running_loop(), list[Sender]()
    for number in range(first, first + count):
        _, client = await loop.create_connection(lambda number=number: kind(run, number), "127.0.0.1", port)  # type: ignore[misc]
        await client.entered
        if isinstance(client, Member):
            await client.joined
        clients.append(client)
    return clients


async def pace(senders: Sequence[Sender], rate: float, seconds: float) -> None:
    """Let the clients send in turn, so many a second together; one that still waits is passed over."""
    began, sent, turn = time.perf_counter(), 0, 0
    while (now := time.perf_counter()) < began + seconds:
        due = int((now - began) * rate) - sent
        for _ in range(due):
            for _ in senders:
                turn = (turn + 1) % len(senders)
                if not senders[turn].waiting:
                    senders[turn].send()
                    break
        sent += due
        await asyncio.sleep(0.001)


async def load(senders: Sequence[Sender], options: argparse.Namespace, seconds: float) -> None:
    """Keep the server busy."""
    if options.rate:
        await pace(senders, options.rate, seconds)
        return
    for sender in senders:
        if not sender.waiting:
            sender.send(options.depth)
    await asyncio.sleep(seconds)


def percentile(waits: Sequence[float], share: float) -> float:
    """In milliseconds."""
    return sorted(waits)[min(len(waits) - 1, int(len(waits) * share))] * 1_000 if waits else float("nan")


def kernel_s(pid: int) -> float:
    """A process's system time so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[12]) / os.sysconf("SC_CLK_TCK")


async def measure(server: Server, options: argparse.Namespace) -> dict[str, float]:
    """Warm up, then count for a while."""
    run = Run(options)
    await enter(Member, run, server.port, options.members * options.channels, 0)
    senders = await enter(Sender, run, server.port, options.clients, 0)
    await load(senders, options, WARM_S)
    run.waits.clear()
    run.delivered = 0
    cpu, kernel, own, began = server.cpu_s(), kernel_s(server.pid), time.process_time(), time.perf_counter()
    if options.profile:
        command = options.profile.format(pid=server.pid, seconds=int(options.seconds))
        await asyncio.create_subprocess_shell(command)
    await load(senders, options, options.seconds)
    count, seconds = len(run.waits), time.perf_counter() - began
    cpu, kernel, own = server.cpu_s() - cpu, kernel_s(server.pid) - kernel, time.process_time() - own
    waits = list(run.waits)
    run.going = False
    async with asyncio.timeout(SETTLE_S):
        while any(sender.waiting for sender in senders):  # noqa: ASYNC110  # no event: it would be set by each ack
            await asyncio.sleep(0.01)
    return {
        "rate": round(count / seconds),
        "cpu_us": round(cpu / count * 1e6, 1),
        "kernel_us": round(kernel / count * 1e6, 1),
        "core": round(cpu / seconds, 2),
        "a_core": round(count / cpu),
        "p50_ms": round(percentile(waits, 0.5), 2),
        "p99_ms": round(percentile(waits, 0.99), 2),
        "failed": run.failed,
        "delivered": run.delivered,
        "load_us": round(own / count * 1e6, 1),
    }


async def main(options: argparse.Namespace) -> None:
    """Print one line of JSON a run."""
    os.sched_setaffinity(0, {1})
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with redis_server(folder) if options.log == "redis" else nothing() as url:
            async with serving(options.log, folder, url, options.set) as server:
                result = await measure(server, options)
    shown = {"log": options.log, "clients": options.clients, "members": options.members, "paced": options.rate}
    print(json.dumps(shown | result), flush=True)


@contextmanager
def nothing() -> Iterator[None]:
    """No Redis."""
    yield None


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.sends_profile", description=__doc__)
    parser.add_argument("--log", choices=("sqlite", "redis", "memory"), default="sqlite")
    parser.add_argument("--clients", type=int, default=128)
    parser.add_argument("--channels", type=int, default=16)
    parser.add_argument("--members", type=int, default=0, help="listeners in each channel")
    parser.add_argument("--depth", type=int, default=1, help="sends in flight of one client")
    parser.add_argument("--size", type=int, default=100, help="characters of text")
    parser.add_argument("--rate", type=float, default=0, help="sends a second of all together (default: all they can)")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--set", action="append", default=[], metavar="MARU_X=Y", help="of the server's environment")
    parser.add_argument("--profile", metavar="COMMAND", help="run meanwhile, with {pid} and {seconds} filled in")
    return parser.parse_args()


if __name__ == "__main__":
    uvloop.run(main(parse()))
