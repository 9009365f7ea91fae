"""A million connections in small: real replicas behind nginx, real clients, and a deploy, a crash and a crowd.

    python -m bench.scaled [--replicas 20] [--clients 4000]

It starts a Redis, the replicas and nginx, and lets loadtest.swarm judge what the clients see. For each event it prints
the verdict, how long clients took to be back, and the processor time of the replicas and of Redis. docs/scaling.md puts
these beside the arithmetic for 50,000 connections a replica.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from tests.harness.nginx import NginxProcess
from tests.harness.redis import RedisProcess
from tests.harness.server import SECRET, ServerProcess

RATE, SECONDS = 40.0, 25.0
ACT_AFTER_S = 8.0
"""The clients are in, and talk, before anything happens."""

ENV = {
    "MARU_LIMITS": "off",
    "MARU_TRUSTED_PROXIES": "127.0.0.1/32",
    "MARU_ADDRESS_UNCONNECTED": "0",
    "MARU_ADDRESS_CONNECTIONS": "0",
    "MARU_DRAIN_TIMEOUT": "10s",
}

Act = Callable[[list[ServerProcess]], Awaitable[None]]


async def nothing(_: list[ServerProcess]) -> None:
    """Let them talk."""


async def drain(replicas: list[ServerProcess]) -> None:
    """Stop a replica as a rolling update does."""
    await replicas.pop().terminate()


async def kill(replicas: list[ServerProcess]) -> None:
    """Kill a replica: its clients come back all at once."""
    await replicas.pop().kill()


EVENTS: dict[str, tuple[Act, int]] = {
    "talk": (nothing, 100),
    "drain of one replica": (drain, 100),
    "kill -9 of one replica": (kill, 100),
    "one channel for all": (nothing, 1),
}
"""What happens, and how many channels the clients are spread over."""


async def measure(replicas: int, clients: int, folder: Path) -> None:
    """Print a line for each event."""
    async with RedisProcess(folder / "redis") as redis:
        env = {"MARU_REDIS_URL": redis.url, **ENV}
        servers = [ServerProcess(made(folder, number), env) for number in range(replicas)]
        for server in servers:
            await server.start()
        async with NginxProcess(made(folder, "front"), [server.port for server in servers], "random") as front:
            for name, (act, channels) in EVENTS.items():
                before, redis_before = {server.pid: cpu(server.pid) for server in servers}, cpu(redis.pid)
                swarm = asyncio.create_task(talk(front.url, clients, channels, folder))
                await asyncio.sleep(ACT_AFTER_S)
                await act(servers)
                report = await swarm
                spent = sum(cpu(server.pid) - before[server.pid] for server in servers)
                print_line(name, report, spent, cpu(redis.pid) - redis_before)
        for server in servers:
            await server.terminate()


async def talk(url: str, clients: int, channels: int, folder: Path) -> Any:
    """Let the swarm talk, and return its report."""
    out = folder / "report.json"
    rate = RATE if channels > 1 else 5.0
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "loadtest.swarm", "--url", url, "--clients", str(clients), "--channels", str(channels)),
        *("--rate", str(rate), "--seconds", str(SECONDS), "--json", str(out)),
        env={**os.environ, "MARU_JWT_SECRET": SECRET},
        stdout=asyncio.subprocess.DEVNULL,
    )
    await process.wait()
    return json.loads(out.read_text())


def print_line(name: str, report: Any, replicas_s: float, redis_s: float) -> None:
    """Print an event."""
    back, delivered = report["return_s"], report["end_to_end_s"]
    print(
        f"{name}: {report['verdict']}, {report['clients']} clients, {report['delivered']} deliveries, "
        f"{report['lost']} lost, {report['duplicated']} doubled; delivered p50 {delivered['p50'] * 1e3:.0f} ms, "
        f"p99 {delivered['p99'] * 1e3:.0f} ms; {back['count']} came back, p50 {back['p50']:.2f} s, "
        f"p99 {back['p99']:.2f} s; "
        f"replicas {replicas_s:.1f} s, Redis {redis_s:.1f} s of a core",
        flush=True,
    )
    for reason in report["reasons"]:
        print(f"  {reason}")


def cpu(pid: int) -> float:
    """Seconds of a processor that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def made(folder: Path, name: int | str) -> Path:
    """Return a new folder."""
    (new := folder / str(name)).mkdir()
    return new


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(prog="python -m bench.scaled", description=__doc__)
    parser.add_argument("--replicas", type=int, default=20)
    parser.add_argument("--clients", type=int, default=4_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="maru-scaled-") as folder:
        (Path(folder) / "redis").mkdir()
        asyncio.run(measure(given.replicas, given.clients, Path(folder)))


if __name__ == "__main__":
    main()
