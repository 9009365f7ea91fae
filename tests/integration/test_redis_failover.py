"""The connections of a process while Redis fails over: none stays on a node that is no longer the master."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import ReadOnlyError

from server.adapters.redis import connection, keys
from server.adapters.redis.bus import RedisBus
from server.adapters.redis.link import connect, follow
from server.adapters.redis.master import Master
from server.adapters.redis.message_log import RedisMessageLog
from server.adapters.redis.pipeline import Pipeline
from server.domain.appending import Appended
from server.domain.drafts import NewMessage
from server.domain.errors import Unavailable
from server.domain.events import Event
from tests.doubles.samples import HOUR_MS, ROOM, new_message
from tests.harness.proxy import Proxy
from tests.harness.redis import RedisProcess
from tests.harness.waiting import polled

pytestmark = pytest.mark.alone  # deadlines of failovers that a loaded machine misses

DEADLINE_S = 10.0
PULSE_S = 0.1
AT_ONCE = ("--repl-diskless-sync-delay", "0")


class Pair:
    """Two nodes behind an address that does not change: `first` is the master, until `failover`."""

    def __init__(self, first: RedisProcess, second: RedisProcess, proxy: Proxy) -> None:
        self.first, self.second, self.proxy = first, second, proxy
        self.url = f"redis://127.0.0.1:{proxy.port}/0"

    async def failover(self) -> None:
        """Make the second node the master. The first lives on as its replica, and keeps its connections."""
        await self.second.command("REPLICAOF", "NO", "ONE")
        self.proxy.upstream_port = self.second.port
        await follows(self.first, self.second)


async def follows(replica: RedisProcess, master: RedisProcess) -> None:
    """Make a node the replica of another, and wait until it is in step."""
    await replica.command("REPLICAOF", "127.0.0.1", master.port)

    async def holds() -> bool:
        # The master counts a replica a moment after the replica has all data.
        return b"connected" in (await replica.command("ROLE")) and len((await master.command("ROLE"))[2]) == 1

    await polled(holds, DEADLINE_S, lambda: "the replica is in step")


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    """A master and its replica behind a proxy."""
    async with RedisProcess(tmp_path / "first", AT_ONCE) as first, RedisProcess(tmp_path / "second", AT_ONCE) as second:
        await follows(second, first)
        async with Proxy(first.port) as proxy:
            yield Pair(first, second, proxy)


@asynccontextmanager
async def running(url: str, master: Master) -> AsyncIterator[RedisBus]:
    """A bus whose listener runs."""
    bus = RedisBus(url, master, pulse_s=PULSE_S)
    listening = asyncio.create_task(bus.run())
    try:
        yield bus
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        await bus.aclose()


@asynccontextmanager
async def linked(url: str, master: Master) -> AsyncIterator[RedisBus]:
    """A bus that hears."""
    async with running(url, master) as bus:
        await within(bus.linked.wait())
        yield bus


async def within(wait: Awaitable[Any]) -> None:
    """Wait for something that must come."""
    async with asyncio.timeout(DEADLINE_S):
        await wait


@asynccontextmanager
async def piped(url: str, master: Master) -> AsyncIterator[Pipeline]:
    """A pipeline that is connected."""
    pipeline = Pipeline(connect(url), master)
    try:
        await pipeline.execute("PING")
        yield pipeline
    finally:
        await pipeline.aclose()


async def clients(node: RedisProcess) -> int:
    """Count connections to the node, without those of replicas and of the test."""
    async with node.client() as client:
        return sum(each["flags"] in {"N", "P"} for each in await client.client_list()) - 1


async def until_moved(pair: Pair, count: int, reader: Pipeline | None = None) -> None:
    """Wait until so many connections lead to the second node, and none to the first. `reader` goes on reading."""

    async def holds() -> bool:
        if reader is not None:
            with suppress(Unavailable):
                await reader.execute("PING")
        return (await clients(pair.first), await clients(pair.second)) == (0, count)

    await polled(holds, DEADLINE_S, lambda: f"{count} connections have moved")


async def test_a_refused_write_moves_every_connection(pair: Pair) -> None:
    """Writers, readers, publisher and listener leave the node together, though only a writer was refused."""
    master = Master()
    async with (
        linked(pair.url, master) as bus,
        piped(pair.url, master) as writer,
        piped(pair.url, master) as reader,
    ):
        await bus.publish("topic", b"before")
        await pair.failover()
        with pytest.raises(ReadOnlyError):
            await writer.execute("SET", "key", "value")
        assert await writer.execute("SET", "key", "value") == b"OK"
        assert await reader.execute("GET", "key") == b"value"
        await bus.publish("topic", b"after")
        await until_moved(pair, 4)


async def test_without_a_write_every_connection_moves_at_the_heartbeat(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replica of Maru that only reads and hears leaves the node, too: each connection asks for the role in time."""
    monkeypatch.setattr(connection, "ROLE_S", PULSE_S)
    master = Master()
    async with linked(pair.url, master) as bus, piped(pair.url, master) as reader:
        await pair.failover()
        await bus.subscribe("topic")
        await until_moved(pair, 3, reader)


async def test_a_listener_follows_the_publisher(pair: Pair) -> None:
    """The listener can't ask for the role; but the publisher's node says that nobody there hears the call."""
    async with linked(pair.url, Master()) as bus:
        await pair.failover()  # the publisher is not connected yet: its first call goes to the new master
        await until_moved(pair, 2)
        await within(bus.linked.wait())
        assert bus.deaf == 0


async def test_nothing_connects_to_a_replica(pair: Pair) -> None:
    """An address that leads to a replica is an outage, until it leads to a master again."""
    pair.proxy.upstream_port = pair.second.port
    pipeline = Pipeline(connect(pair.url))
    async with running(pair.url, Master()) as bus:
        with pytest.raises(Unavailable):
            await pipeline.execute("GET", "key")
        assert not bus.linked.is_set()
        await pair.second.command("REPLICAOF", "NO", "ONE")
        await within(bus.linked.wait())
        assert await pipeline.execute("GET", "key") is None
    await pipeline.aclose()


class Watched:
    """A master and a replica in step, with sentinels that know each other."""

    def __init__(self, master: RedisProcess, replica: RedisProcess, sentinels: list[RedisProcess]) -> None:
        self.master, self.replica, self.sentinels = master, replica, sentinels
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in sentinels)
        self.url = f"redis+sentinel://{hosts}/0/mymaster"

    async def ready(self) -> None:
        """Wait until each sentinel knows the replica, and the others."""

        async def holds() -> bool:
            states = [await state_of(sentinel) for sentinel in self.sentinels]
            known = {(state["num-slaves"], state["num-other-sentinels"]) for state in states}
            return known == {(1, len(self.sentinels) - 1)} and len((await self.master.command("ROLE"))[2]) == 1

        await polled(holds, DEADLINE_S, lambda: "the sentinels know each other")

    async def promoted(self) -> bool:
        """Whether the replica is the master now."""
        role = await self.replica.command("ROLE")
        return bool(role[0] == b"master")


async def state_of(sentinel: RedisProcess) -> Any:
    """What a sentinel knows of its master."""
    async with sentinel.client() as client:
        return await client.sentinel_master("mymaster")


@pytest.fixture
async def watched(tmp_path: Path) -> AsyncIterator[Watched]:
    """Three sentinels over two nodes."""
    async with AsyncExitStack() as resources:
        master = await resources.enter_async_context(RedisProcess(tmp_path / "master", AT_ONCE))
        following = (*AT_ONCE, "--replicaof", "127.0.0.1", str(master.port))
        replica = await resources.enter_async_context(RedisProcess(tmp_path / "replica", following))
        sentinels = [
            await resources.enter_async_context(RedisProcess(tmp_path / f"sentinel-{n}", sentinel_of=master.port))
            for n in range(3)
        ]
        scene = Watched(master, replica, sentinels)
        await scene.ready()
        yield scene


def log_at(url: str, wait_replicas: int) -> RedisMessageLog:
    """A log that keeps all."""
    return RedisMessageLog(url, max_events=100_000, max_age_ms=1_000 * HOUR_MS, wait_replicas=wait_replicas)


class Sender:
    """Sends one message after another to a log, and keeps the events that are acked. The log is told of each event, as
    by a hub: only a process that hosts a channel can tell that another master has all of it."""

    def __init__(self, log: RedisMessageLog) -> None:
        self._log = log
        self.acked: list[Event] = []
        self.refused = 0

    async def run(self) -> None:
        """Send until cancelled."""
        for number in count():
            try:
                event = (await self._log.append(new_message(number))).event
            except Unavailable:
                self.refused += 1
            else:
                self._log.note(event)
                self.acked.append(event)

    async def goes_on(self) -> None:
        """Wait until further messages are acked."""
        enough = len(self.acked) + 5
        await polled(lambda: len(self.acked) >= enough, DEADLINE_S, lambda: "messages are acked")

    async def check(self) -> None:
        """Every event that was acked by now is in the log, in its place."""
        acked = list(self.acked)  # more may be acked behind the read
        events = (await self._log.read(ROOM, 0, 100_000)).events
        assert [event for event in acked if event not in events] == []


@asynccontextmanager
async def sending(url: str, wait_replicas: int = 0) -> AsyncIterator[Sender]:
    """A sender at work."""
    async with log_at(url, wait_replicas) as log:
        sender = Sender(log)
        running = asyncio.create_task(sender.run())
        try:
            await sender.goes_on()
            yield sender
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


@pytest.mark.parametrize("leader", [0, 2])
async def test_a_planned_failover_loses_nothing_that_is_acked(watched: Watched, leader: int) -> None:
    """Though the old master takes writes for ten seconds more, and two of three sentinels hear of it later."""
    async with sending(watched.url) as sender:
        await watched.sentinels[leader].command("SENTINEL", "FAILOVER", "mymaster")
        await polled(watched.promoted, DEADLINE_S, lambda: "the replica is the master")
        await sender.goes_on()
        assert (await watched.master.command("ROLE"))[0] == b"master"  # it takes writes, and is not asked to
        assert sender.refused
        await sender.check()


async def test_connections_follow_the_sentinels(watched: Watched) -> None:
    """Also those that only hear leave the old master before it is demoted."""
    master = Master()
    following = asyncio.create_task(follow(watched.url, master))
    async with linked(watched.url, master) as bus:
        await bus.publish("topic", b"")
        await watched.sentinels[0].command("SENTINEL", "FAILOVER", "mymaster")

        async def holds() -> bool:
            return (await clients(watched.replica)) - (await clients(watched.master)) == 2

        await polled(holds, DEADLINE_S, lambda: "the bus has left the old master")
        await within(bus.linked.wait())
        assert (await watched.master.command("ROLE"))[0] == b"master"
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


async def test_a_write_waits_for_replicas(pair: Pair) -> None:
    """Without enough of them nothing is acked, within the deadline; what is acked, each of them has."""
    async with sending(pair.url, wait_replicas=1) as sender:
        await sender.goes_on()
        pair.second.freeze()
        acked = len(sender.acked)
        await polled(lambda: sender.refused >= 2, DEADLINE_S, lambda: "sends are refused")
        assert len(sender.acked) <= acked + 1
        pair.second.thaw()
        await sender.goes_on()
        await sender.check()
        pair.first.kill()
    kept = await pair.second.command("XLEN", f"{keys.log(ROOM)}")
    assert kept >= len(sender.acked)


async def accepted(log: RedisMessageLog, draft: NewMessage) -> Appended:
    """Append a draft, again while a replica is busy with coming back."""
    answers: list[Appended] = []

    async def holds() -> bool:
        with suppress(Unavailable):
            answers.append(await log.append(draft))
        return bool(answers)

    await polled(holds, DEADLINE_S, lambda: "a replica has it")
    return answers[0]


async def test_a_repeat_waits_for_replicas(pair: Pair) -> None:
    """A message that was refused for want of a replica is not acked as a duplicate either, until a replica has it."""
    async with log_at(pair.url, wait_replicas=1) as log:
        await accepted(log, new_message(1, key="j"))
        pair.second.freeze()
        for _ in range(2):
            with pytest.raises(Unavailable, match="0 of 1 replicas"):
                await log.append(new_message(2, key="k"))
        pair.second.thaw()
        assert (await accepted(log, new_message(2, key="k"))).duplicate
