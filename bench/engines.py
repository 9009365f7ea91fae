"""Every engine in one run: sends and their processor time, and the price that a replica pays for strangers.

    python -m bench.engines [--engines sqlite,redis,postgres] [--rounds 3]

It starts each engine's servers, durable as an operator would have them, and two replicas of Maru. Clients send to the
first replica; the second hosts none of their channels. A line for each round, then medians as a table.
"""

import argparse
import asyncio
import os
import secrets
import statistics
import tempfile
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from bench.cases.sends import CHANNELS, figures
from bench.load import Load
from bench.machine import cores
from bench.processes import cpu_s
from bench.sends import SendFlow, SendWindow
from bench.worker import Target
from tests.harness.kafka import KafkaProcess
from tests.harness.nats import NatsProcess
from tests.harness.postgres import PostgresProcess
from tests.harness.redis import RedisProcess
from tests.harness.server import ServerProcess

CLIENTS, SECONDS, WARM_S = 64, 2.0, 0.5
PACED = 2_000.0
"""Messages a second while the second replica is looked at: DESIGN's bound is 2 % of a core at this rate."""

Env = Mapping[str, str]
Open = Callable[[Path], AbstractAsyncContextManager[Env]]


@asynccontextmanager
async def sqlite(_: Path) -> AsyncIterator[Env]:
    """A file of the replica's own: the second replica has another."""
    yield {}


@asynccontextmanager
async def redis(folder: Path) -> AsyncIterator[Env]:
    """AOF, each second on disk."""
    async with RedisProcess(made(folder / "redis")) as process:
        yield {"MARU_REDIS_URL": process.url}


@asynccontextmanager
async def postgres(_: Path) -> AsyncIterator[Env]:
    """Each commit on disk."""
    durable = {"fsync": "on", "full_page_writes": "on", "shared_buffers": "256MB"}
    async with PostgresProcess(durable) as process:
        yield {"MARU_POSTGRES_URL": process.url}


@asynccontextmanager
async def nats(folder: Path) -> AsyncIterator[Env]:
    """Streams in files, on disk every two minutes, as it comes."""
    async with NatsProcess(made(folder / "nats")) as process:
        yield {"MARU_NATS_URL": process.url}


def beside(store: Open, broker: Callable[[Path], AbstractAsyncContextManager[Env]], name: str) -> Open:
    """A store, and hints by another broker."""

    @asynccontextmanager
    async def both(folder: Path) -> AsyncIterator[Env]:
        async with store(folder) as env, broker(folder) as hints:
            yield {**env, **hints, "MARU_BROADCAST": name}

    return both


@asynccontextmanager
async def kafka(folder: Path) -> AsyncIterator[Env]:
    """A broker with the topic of hints."""
    async with KafkaProcess(made(folder / "kafka")) as process:
        await process.create("maru.hints", partitions=64)
        yield {"MARU_KAFKA_SERVERS": process.servers}


ENGINES: Mapping[str, Open] = {
    "sqlite": sqlite,
    "redis": redis,
    "redis+nats": beside(redis, nats, "nats"),
    "redis+kafka": beside(redis, kafka, "kafka"),
    "postgres": postgres,
    "postgres+nats": beside(postgres, nats, "nats"),
    "postgres+kafka": beside(postgres, kafka, "kafka"),
    "nats": nats,
}


async def measure(name: str, folder: Path) -> dict[str, float]:
    """Return the figures of an engine."""
    secret, where = secrets.token_hex(32), cores()
    async with ENGINES[name](folder) as env:
        common = {**env, "MARU_JWT_SECRET": secret, "MARU_LIMITS": "off"}
        common["MARU_CHANNEL_RULES"] = '{"*": {"presence": "off"}}'
        async with (
            ServerProcess(made(folder / "one"), common) as busy,
            ServerProcess(made(folder / "two"), common) as idle,
        ):
            store = tuple(pid for pid in descendants(os.getpid()) if pid not in (busy.pid, idle.pid))
            target = Target("maru", (busy.port,), (busy.pid,), secret)
            with Load(target, where.load) as load:
                await asyncio.to_thread(load.do, "prepare", count=CLIENTS, channels=CHANNELS, join=False)
                await asyncio.to_thread(load.do, "enter")
                full = await flow(load, store, 0.0)
                before = cpu_s((idle.pid,))
                paced = await flow(load, store, PACED)
                stranger = (cpu_s((idle.pid,)) - before) / (paced.seconds + WARM_S)
    found, half = figures(full), figures(paced)
    return {
        "acks/s": found["acks_s"],
        "p99, ms": found["p99_ms"],
        "CPU, us": found["cpu_us"],
        "store's CPU, us": found.get("store_us", 0.0),
        "at 2,000/s: p99, ms": half["p99_ms"],
        "CPU, us at 2,000/s": half["cpu_us"],
        "store's CPU, us at 2,000/s": half.get("store_us", 0.0),
        "a stranger's core, %": stranger * 100,
    }


async def flow(load: Load, store: Sequence[int], rate: float) -> SendFlow:
    """Send for a while."""
    window = SendWindow(CHANNELS, 64, SECONDS if not rate else 5.0, WARM_S, rate, 1, CLIENTS, tuple(store))
    result: SendFlow = await asyncio.to_thread(load.do, "sends", window=window)
    return result


def descendants(pid: int) -> list[int]:
    """Return the processes that a process has started, and theirs."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    children = [int(child) for task in tasks for child in task.read_text().split()]
    return [each for child in children for each in (child, *descendants(child))]


def made(folder: Path) -> Path:
    """Return a new folder."""
    folder.mkdir()
    return folder


def main() -> None:
    """Measure, in rounds that alternate."""
    parser = argparse.ArgumentParser(prog="python -m bench.engines", description=__doc__)
    parser.add_argument("--engines", default=",".join(ENGINES))
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    names, found = given.engines.split(","), defaultdict[str, list[dict[str, float]]](list)
    for number in range(given.rounds):
        for name in names:
            with tempfile.TemporaryDirectory(prefix="maru-engines-") as folder:
                values = asyncio.run(measure(name, Path(folder)))
            found[name].append(values)
            print(f"{name} #{number}: " + ", ".join(f"{key} {value:,.2f}" for key, value in values.items()), flush=True)
    keys = list(next(iter(found.values()))[0])
    print("\n| engine | " + " | ".join(keys) + " |\n|---|" + "---:|" * len(keys))
    for name, rounds in found.items():
        medians = [statistics.median(values[key] for values in rounds) for key in keys]
        print(f"| {name} | " + " | ".join(f"{value:,.1f}" for value in medians) + " |")


if __name__ == "__main__":
    main()
