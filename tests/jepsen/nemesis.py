"""The nemesis: makes one fault after the other, each real, and undoes it.

The deck is shuffled by the run's seed, so that each fault comes up before any comes twice.
"""

import asyncio
import contextlib
import resource
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from random import Random

from redis.exceptions import RedisError

from tests.harness.cluster import ready
from tests.harness.engines import Part
from tests.harness.redis import RedisProcess
from tests.harness.waiting import pause, polled
from tests.jepsen.history import History
from tests.jepsen.stage import FAILOVER_S, Replica, Stage, in_step

CALM_S = (0.2, 0.8)
"""Between two faults."""

HOLDS_S = (0.2, 1.6)
"""How long a fault holds that does not end by itself."""

STEPS_S = (-7_200.0, -90.0, 90.0, 7_200.0, 40 * 86_400.0)
"""Steps of a clock. The largest is beyond every age at which events are dropped."""

SLOW_FSYNC_S = (0.05, 0.6)
FULL_BYTES = 4_096
"""Room that a file has left when the disk is full."""

Fault = Callable[["Nemesis"], Awaitable[None]]


class Nemesis:
    """Makes the faults of `deck` on a stage until `over`."""

    def __init__(self, stage: Stage, history: History, seed: int, deck: Sequence[str], channels: Sequence[str]) -> None:
        self.stage = stage
        self.random = Random(f"{seed} nemesis")
        self._history, self._deck, self.channels = history, deck, channels

    async def run(self, over: asyncio.Event) -> None:
        """Work until the run is over; the last fault is undone."""
        cards: list[str] = []
        while not await pause(over, self.random.uniform(*CALM_S)):
            if not cards:
                cards = self.random.sample(self._deck, len(self._deck))
            await FAULTS[cards.pop()](self)

    @asynccontextmanager
    async def fault(self, name: str, **told: object) -> AsyncIterator[None]:
        """Note a fault, and its end."""
        began = self._history.fault(name, **told)
        yield
        self._history.fault(name, ends=began)

    @property
    def now(self) -> int:
        """The index of the next record."""
        return len(self._history.records)

    def lost(self, name: str, since: int, channel: str | None = None, **told: object) -> None:
        """Note that the store was made to lose what was acked since then."""
        self._history.fault(name, ends=since, loses_since=since, channel=channel, **told)

    async def hold(self) -> None:
        """Let a fault last."""
        await asyncio.sleep(self.random.uniform(*HOLDS_S))

    def replica(self) -> Replica:
        """Choose a replica."""
        return self.random.choice(self.stage.replicas)

    @property
    def redis(self) -> RedisProcess:
        """The Redis of the stage."""
        assert self.stage.redis is not None
        return self.stage.redis

    @property
    def store(self) -> Part:
        """The store of a stage without Redis."""
        assert self.stage.store is not None
        return self.stage.store


# Replicas


async def freeze_replica(nemesis: Nemesis) -> None:
    """SIGSTOP for a while."""
    process = nemesis.replica().process
    async with nemesis.fault("freeze replica"):
        process.freeze()
        await nemesis.hold()
        process.thaw()


async def kill_replica(nemesis: Nemesis) -> None:
    """`kill -9`, and a start on the same port and data."""
    process = nemesis.replica().process
    async with nemesis.fault("kill replica"):
        await process.kill()
        await nemesis.hold()
        await process.start()
        await ready(process)


async def restart_replica(nemesis: Nemesis) -> None:
    """SIGTERM, as a deployment does it."""
    process = nemesis.replica().process
    async with nemesis.fault("restart replica"):
        await process.terminate()
        await process.start()
        await ready(process)


async def step_clock(nemesis: Nemesis) -> None:
    """Set the clock of one replica wrong for a while."""
    shim, step_s = nemesis.replica().shim, nemesis.random.choice(STEPS_S)
    async with nemesis.fault("step clock", seconds=step_s):
        shim.step(step_s)
        await nemesis.hold()
        shim.step(0)


async def slow_disk(nemesis: Nemesis) -> None:
    """Let each fsync of the store take long."""
    shim = nemesis.stage.disk or nemesis.stage.replicas[0].shim
    async with nemesis.fault("slow fsync"):
        shim.slow(nemesis.random.uniform(*SLOW_FSYNC_S))
        await nemesis.hold()
        shim.slow(0)


async def fill_disk(nemesis: Nemesis) -> None:
    """Let the database's files grow no more, by the limit that the kernel holds a process to."""
    process = nemesis.stage.replicas[0].process
    log = process.folder / "maru.db-wal"
    _, most = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
    async with nemesis.fault("full disk"):
        size = log.stat().st_size if log.exists() else 0
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (size + FULL_BYTES, most))
        await nemesis.hold()
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (most, most))


# Redis


async def freeze_redis(nemesis: Nemesis) -> None:
    """SIGSTOP for a while."""
    async with nemesis.fault("freeze Redis"):
        nemesis.redis.freeze()
        await nemesis.hold()
        nemesis.redis.thaw()


async def kill_redis(nemesis: Nemesis) -> None:
    """`kill -9`, and a start with the data that it had written: all that it has answered."""
    async with nemesis.fault("kill Redis", resets=True):
        nemesis.redis.kill()
        await nemesis.hold()
        await nemesis.redis.start()


async def kill_connections(nemesis: Nemesis) -> None:
    """Let Redis close the connections of its clients."""
    kind = nemesis.random.choice(("normal", "pubsub"))
    async with nemesis.fault("kill connections", type=kind):
        await nemesis.redis.command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")


async def cut_wire(nemesis: Nemesis) -> None:
    """Cut the TCP connections between one replica and Redis."""
    wire = nemesis.replica().wire
    assert wire is not None
    async with nemesis.fault("cut TCP"):
        wire.cut()


async def swallow_answers(nemesis: Nemesis) -> None:
    """Let a replica's commands reach Redis, and no answer come back; then cut the connections."""
    wire = nemesis.replica().wire
    assert wire is not None
    async with nemesis.fault("swallow answers"):
        wire.swallowing = True
        await nemesis.hold()
        wire.cut()
        wire.swallowing = False


async def put_back(nemesis: Nemesis) -> None:
    """Put an older state of Redis back: what was acked since is lost."""
    moment = nemesis.stage.folder / "moment"
    shutil.rmtree(moment, ignore_errors=True)
    since = nemesis.now
    nemesis.redis.save(moment)
    await nemesis.hold()
    async with nemesis.fault("older snapshot", resets=True):
        await nemesis.redis.restore(moment)
    nemesis.lost("older snapshot", since)


async def start_over(nemesis: Nemesis) -> None:
    """Put an older state of Redis back while no replica lives: only clients know what was lost."""
    moment = nemesis.stage.folder / "moment"
    shutil.rmtree(moment, ignore_errors=True)
    since = nemesis.now
    nemesis.redis.save(moment)
    await nemesis.hold()
    processes = [replica.process for replica in nemesis.stage.replicas]
    async with nemesis.fault("older backup", resets=True):
        await asyncio.gather(*(process.kill() for process in processes))
        await nemesis.redis.restore(moment)
        await asyncio.gather(*(process.start() for process in processes))
        await asyncio.gather(*map(ready, processes))
    nemesis.lost("older backup", since)


async def evict(nemesis: Nemesis) -> None:
    """Take one key away from Redis, as an eviction does."""
    async with nemesis.redis.client() as client:
        keys = sorted([key async for key in client.scan_iter(count=1_000)])
        if not keys:
            return
        # Kinds of keys are drawn first: most keys are of the same kind.
        kinds: dict[bytes, list[bytes]] = {}
        for key in keys:
            kinds.setdefault(key.rpartition(b"}")[2].split(b":")[-1][:5], []).append(key)
        key = nemesis.random.choice(kinds[nemesis.random.choice(sorted(kinds))])
        channel = next((name for name in nemesis.channels if name.encode() in key), None)
        began = nemesis.now
        async with nemesis.fault("evict", key=key.decode(errors="replace"), resets=True, channel=channel):
            await client.delete(key)
    nemesis.lost("evict", 0, channel, evicts_since=began)


async def fill_redis(nemesis: Nemesis) -> None:
    """Let Redis be over its memory."""
    async with nemesis.fault("full Redis"):
        await nemesis.redis.command("CONFIG", "SET", "maxmemory", "1mb")
        await nemesis.hold()
        await nemesis.redis.command("CONFIG", "SET", "maxmemory", "0")


async def fail_over(nemesis: Nemesis) -> None:
    """Let the sentinel make the copy the master, as an operator does before an upgrade."""
    watch, spare = nemesis.stage.sentinel, nemesis.stage.spare
    assert watch is not None
    assert spare is not None

    async def master() -> bytes:
        found: list[bytes] = await watch.command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster")
        return found[1]

    before = await master()

    async def moved() -> bool:
        return await master() != before

    async def begun() -> bool:
        with contextlib.suppress(RedisError):
            await watch.command("SENTINEL", "FAILOVER", "mymaster")
            return True
        return False

    async with nemesis.fault("failover", resets=True):
        await polled(begun, FAILOVER_S, lambda: "the failover begins", every_s=0.2)
        await polled(moved, FAILOVER_S, lambda: "the failover ends", every_s=0.1)
        await in_step((nemesis.redis, spare))


# Stores of other engines


async def freeze_store(nemesis: Nemesis) -> None:
    """SIGSTOP for a while."""
    async with nemesis.fault("freeze store"):
        nemesis.store.freeze()
        await nemesis.hold()
        nemesis.store.thaw()


async def kill_store(nemesis: Nemesis) -> None:
    """`kill -9` of all its processes, and a start with the data that it had written."""
    async with nemesis.fault("kill store"):
        await nemesis.store.kill()
        await nemesis.hold()
        await nemesis.store.start()


async def restart_store(nemesis: Nemesis) -> None:
    """Stop it as an operator does, and start it again."""
    async with nemesis.fault("restart store"):
        await nemesis.store.restart()


async def cut_store(nemesis: Nemesis) -> None:
    """Let the store close the connections of its clients."""
    async with nemesis.fault("cut store"):
        await nemesis.store.cut()


FAULTS: dict[str, Fault] = {
    "freeze replica": freeze_replica,
    "kill replica": kill_replica,
    "restart replica": restart_replica,
    "step clock": step_clock,
    "slow fsync": slow_disk,
    "full disk": fill_disk,
    "freeze Redis": freeze_redis,
    "kill Redis": kill_redis,
    "kill connections": kill_connections,
    "cut TCP": cut_wire,
    "swallow answers": swallow_answers,
    "older snapshot": put_back,
    "older backup": start_over,
    "evict": evict,
    "full Redis": fill_redis,
    "failover": fail_over,
    "freeze store": freeze_store,
    "kill store": kill_store,
    "restart store": restart_store,
    "cut store": cut_store,
}

OF_REPLICAS = ("freeze replica", "kill replica", "restart replica")
OF_REDIS = ("freeze Redis", "kill Redis", "kill connections", "cut TCP", "swallow answers", "slow fsync")
OF_OTHERS = ("freeze store", "kill store", "restart store", "cut store", "cut TCP", "swallow answers")
OF_THE_STORE = ("older snapshot", "older backup", "evict", "full Redis")

DECKS: dict[str, Sequence[str]] = {
    "sqlite": (*OF_REPLICAS, "step clock", "slow fsync", "full disk"),
    "redis": (*OF_REPLICAS, "step clock", *OF_REDIS, *OF_THE_STORE),
    "sentinel": ("freeze replica", "kill replica", "failover"),
    "postgres": (*OF_REPLICAS, "step clock", *OF_OTHERS),
    "nats": (*OF_REPLICAS, "step clock", *OF_OTHERS),
}
"""The faults of each stage."""

OF_SHIMS = {"step clock", "slow fsync"}
"""Faults that need a compiler."""


def deck(faults: Sequence[str], *, shims: bool) -> list[str]:
    """Return those of the faults that can be made here."""
    return [name for name in faults if shims or name not in OF_SHIMS]
