"""The servers of a run, as real processes over a real store, and the handles by which faults take hold of them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.harness.cluster import ready
from tests.harness.engines import NatsPart, Part, PostgresPart
from tests.harness.nats import NatsProcess
from tests.harness.postgres import PostgresProcess
from tests.harness.proxy import Proxy
from tests.harness.redis import RedisProcess
from tests.harness.server import ServerProcess
from tests.harness.waiting import polled
from tests.jepsen.line import PING_S
from tests.jepsen.shim import Shim, built

SERVER = ("-m", "server")
REPLICAS = 2
FAILOVER_S = 20.0

AT_ONCE = ("--repl-diskless-sync-delay", "0")
"""A copy that comes is brought into step without waiting for others: until then no append is acked."""

ENV = {
    "MARU_PING_INTERVAL": str(PING_S),
    "MARU_PING_TIMEOUT": "2",
    "MARU_DRAIN_TIMEOUT": "2",
    # So that the audit at the end reads everything.
    "MARU_RETENTION_EVENTS": "1000000",
}


@dataclass(slots=True)
class Replica:
    """A replica, its clock and disk, and the wire to its Redis."""

    process: ServerProcess
    shim: Shim
    wire: Proxy | None = None


@dataclass(slots=True)
class Stage:
    """All servers of a run. `disk` is that of Redis; `sentinel` watches `redis` and `spare`. `store` is that of another
    engine."""

    folder: Path
    replicas: Sequence[Replica]
    redis: RedisProcess | None = None
    disk: Shim | None = None
    spare: RedisProcess | None = None
    sentinel: RedisProcess | None = None
    store: Part | None = None
    notes: list[str] = field(default_factory=list)

    def ports(self) -> Sequence[int]:
        """The ports of all replicas, in order."""
        return [replica.process.port for replica in self.replicas]


@asynccontextmanager
async def sqlite(folder: Path, program: Sequence[str] = SERVER) -> AsyncIterator[Stage]:
    """One server over SQLite."""
    shim = Shim(built(folder), folder / "replica.shim")
    process = ServerProcess(_made(folder / "replica"), {"MARU_MESSAGE_LOG": "sqlite", **ENV, **shim.env}, program)
    async with process:
        await ready(process)
        yield Stage(folder, [Replica(process, shim)])


@asynccontextmanager
async def redis(folder: Path, program: Sequence[str] = SERVER) -> AsyncIterator[Stage]:
    """Replicas over one Redis that writes everything to the disk before it answers."""
    library = built(folder)
    disk = Shim(library, folder / "redis.shim")
    async with AsyncExitStack() as stack:
        store = RedisProcess(folder / "redis", ("--appendfsync", "always"), env=disk.env)
        await stack.enter_async_context(store)
        replicas = []
        for number in range(1, REPLICAS + 1):
            wire = await stack.enter_async_context(Proxy(store.port))
            shim = Shim(library, folder / f"replica-{number}.shim")
            env = {"MARU_REDIS_URL": f"redis://127.0.0.1:{wire.port}/0", **ENV, **shim.env}
            process = ServerProcess(_made(folder / f"replica-{number}"), env, program)
            replicas.append(Replica(process, shim, wire))
        await _started(stack, replicas)
        yield Stage(folder, replicas, store, disk)


@asynccontextmanager
async def sentinel(folder: Path, program: Sequence[str] = SERVER) -> AsyncIterator[Stage]:
    """Replicas over a master and its copy, which a sentinel watches; an append waits for the copy."""
    async with AsyncExitStack() as stack:
        master = await stack.enter_async_context(RedisProcess(folder / "master", AT_ONCE))
        copies = (*AT_ONCE, "--replicaof", "127.0.0.1", str(master.port))
        spare = await stack.enter_async_context(RedisProcess(folder / "spare", copies))
        watch = await stack.enter_async_context(RedisProcess(folder / "sentinel", sentinel_of=master.port))
        await in_step((master, spare))
        await known(watch)
        url = f"redis+sentinel://127.0.0.1:{watch.port}/0/mymaster"
        replicas = [
            Replica(
                ServerProcess(
                    _made(folder / f"replica-{number}"),
                    {"MARU_REDIS_URL": url, "MARU_REDIS_WAIT_REPLICAS": "1", **ENV},
                    program,
                ),
                Shim(None, folder / f"replica-{number}.shim"),
            )
            for number in range(1, REPLICAS + 1)
        ]
        await _started(stack, replicas)
        yield Stage(folder, replicas, master, spare=spare, sentinel=watch)


@asynccontextmanager
async def postgres(folder: Path, program: Sequence[str] = SERVER) -> AsyncIterator[Stage]:
    """Replicas over PostgreSQL alone."""
    library = built(folder)
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(PostgresProcess())
        replicas = []
        for number in range(1, REPLICAS + 1):
            wire = await stack.enter_async_context(Proxy(store.port))
            shim = Shim(library, folder / f"replica-{number}.shim")
            env = {"MARU_POSTGRES_URL": f"postgresql://maru@127.0.0.1:{wire.port}/maru", **ENV, **shim.env}
            process = ServerProcess(_made(folder / f"replica-{number}"), env, program)
            replicas.append(Replica(process, shim, wire))
        await _started(stack, replicas)
        yield Stage(folder, replicas, store=PostgresPart(store))


@asynccontextmanager
async def nats(folder: Path, program: Sequence[str] = SERVER) -> AsyncIterator[Stage]:
    """Replicas over NATS alone."""
    library = built(folder)
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(NatsProcess(folder / "nats"))
        replicas, wires = list[Replica](), list[Proxy]()
        for number in range(1, REPLICAS + 1):
            wires.append(await stack.enter_async_context(Proxy(store.port)))
            shim = Shim(library, folder / f"replica-{number}.shim")
            env = {"MARU_NATS_URL": f"nats://127.0.0.1:{wires[-1].port}", **ENV, **shim.env}
            process = ServerProcess(_made(folder / f"replica-{number}"), env, program)
            replicas.append(Replica(process, shim, wires[-1]))
        await _started(stack, replicas)
        yield Stage(folder, replicas, store=NatsPart(store, *wires))


STAGES = {"sqlite": sqlite, "redis": redis, "sentinel": sentinel, "postgres": postgres, "nats": nats}


async def in_step(pair: Sequence[RedisProcess]) -> None:
    """Wait until one of two is the master, and the other has all that the master has."""

    async def holds() -> bool:
        states = [await each.command("INFO", "replication") for each in pair]
        masters = [state for state in states if state["role"] == "master" and state["connected_slaves"] == 1]
        copies = [state for state in states if state["role"] == "slave" and state["master_link_status"] == "up"]
        return len(masters) == len(copies) == 1

    await polled(holds, FAILOVER_S, lambda: "a copy is in step", every_s=0.2)


async def known(watch: RedisProcess) -> None:
    """Wait until the sentinel knows the copy."""

    async def holds() -> bool:
        return len(await watch.command("SENTINEL", "REPLICAS", "mymaster")) == 1

    await polled(holds, FAILOVER_S, lambda: "the sentinel knows the copy", every_s=0.2)


async def _started(stack: AsyncExitStack, replicas: Sequence[Replica]) -> None:
    for replica in replicas:
        stack.push_async_exit(replica.process)
    await asyncio.gather(*(replica.process.start() for replica in replicas))
    for replica in replicas:
        await ready(replica.process)


def _made(folder: Path) -> Path:
    with contextlib.suppress(FileExistsError):
        folder.mkdir()
    return folder
