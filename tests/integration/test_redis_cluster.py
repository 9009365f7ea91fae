"""Faults of a Redis Cluster under load: nothing acked is lost or doubled, one order, and the other nodes go on."""

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from typing import TypeVar

import pytest
import pytest_asyncio

from server.adapters.redis import keys, ways
from server.adapters.redis.broadcast import RedisBroadcast
from server.adapters.redis.bus import RedisBus
from server.adapters.redis.cluster.exchange import ClusterExchange
from server.adapters.redis.cluster.nodes import Nodes
from server.adapters.redis.cluster.slots import slot_of
from server.adapters.redis.master import Master
from server.adapters.redis.message_log import RedisMessageLog
from server.domain.channels import ChannelName
from server.domain.errors import Unavailable
from server.domain.events import MessageCreated
from tests.conftest import Figure
from tests.doubles.samples import HOUR_MS, new_message
from tests.harness.process import free_port
from tests.harness.redis import RedisProcess
from tests.harness.redis_cluster import ClusterProcess, Node
from tests.harness.seal import SEAL
from tests.harness.waiting import polled

pytestmark = [pytest.mark.alone, pytest.mark.asyncio(loop_scope="module")]

CHANNELS = 12
HEAL_S = 20.0
ANSWER_S = 2.0
LOADED_S = 0.5
"""That a loaded machine takes on top."""

T = TypeVar("T")

_prefixes = count(1)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ClusterProcess]:
    """Six nodes for all tests of this file."""
    async with ClusterProcess(tmp_path_factory.mktemp("redis-cluster")) as process:
        yield process


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def whole(cluster: ClusterProcess) -> AsyncIterator[None]:
    """Every node runs again after each test."""
    yield
    for node in cluster.nodes:
        if not node.runs:
            await node.start()
    await polled(cluster.whole, HEAL_S, lambda: "the cluster is whole")


@dataclass
class Load:
    """A replica's log whose channels are written to all the time, each by a client that repeats what was refused."""

    log: RedisMessageLog
    channels: list[ChannelName]
    acked: dict[ChannelName, list[MessageCreated]] = field(default_factory=lambda: defaultdict(list))
    slowest: float = 0.0
    refused: dict[ChannelName, int] = field(default_factory=lambda: defaultdict(int))
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def write(self, channel: ChannelName) -> None:
        """Append messages in a row."""
        for number in count(1):
            draft = new_message(number, channel=channel, key=f"key {number}")
            while True:
                began = time.monotonic()
                try:
                    appended = await self.log.append(draft)
                except Unavailable:
                    self.refused[channel] += 1
                    await asyncio.sleep(0.05)
                else:
                    assert isinstance(appended.event, MessageCreated)
                    self.acked[channel].append(appended.event)
                    self.changed.set()
                    break
                finally:
                    self.slowest = max(self.slowest, time.monotonic() - began)
            await asyncio.sleep(0.005)

    async def go_on(self, more: int = 5) -> None:
        """Wait until every channel has taken so many more messages."""
        wanted = {channel: len(self.acked[channel]) + more for channel in self.channels}
        async with asyncio.timeout(HEAL_S):
            while any(len(self.acked[channel]) < number for channel, number in wanted.items()):
                self.changed.clear()
                await self.changed.wait()

    def of(self, channels: list[ChannelName]) -> "Load":
        """Some of the channels."""
        return Load(self.log, channels, self.acked, changed=self.changed)

    async def check(self) -> None:
        """Each acked message is in its channel's log once, at its place, in the order of the sender."""
        for channel in self.channels:
            found = await self.log.read(channel, 0, 10_000)
            created = [event for event in found.events if isinstance(event, MessageCreated)]
            texts = [event.message.text for event in created]
            assert texts == [f"number {number}" for number in range(1, len(texts) + 1)]
            assert [event.offset for event in found.events] == list(range(1, len(found.events) + 1))
            acked = self.acked[channel]
            assert [created[event.offset - 1].message.id for event in acked] == [event.message.id for event in acked]


@asynccontextmanager
async def loaded(cluster: ClusterProcess, wait_replicas: int) -> AsyncIterator[Load]:
    """Write to channels of all nodes."""
    prefix = f"faults-{next(_prefixes)}:"
    log = RedisMessageLog(
        cluster.url, Master(), max_events=100_000, max_age_ms=HOUR_MS, prefix=prefix, wait_replicas=wait_replicas
    )
    load = Load(log, [ChannelName(f"faults:{number}") for number in range(CHANNELS)])
    async with log:
        writers = [asyncio.create_task(load.write(channel)) for channel in load.channels]
        try:
            await load.go_on()
            yield load
        finally:
            for writer in writers:
                writer.cancel()
            results = await asyncio.gather(*writers, return_exceptions=True)
        assert [each for each in results if not isinstance(each, asyncio.CancelledError)] == []
        await load.check()


async def of(cluster: ClusterProcess, load: Load, node: Node) -> list[ChannelName]:
    """The channels of a node."""
    return [channel for channel in load.channels if await cluster.owner(keys.partition(channel)) is node]


async def test_a_killed_master_holds_up_its_own_channels_alone(cluster: ClusterProcess, figure: Figure) -> None:
    """`unavailable` within 2 s until its replica is promoted; a write that two nodes have is never lost."""
    async with loaded(cluster, wait_replicas=1) as load:
        master = await cluster.owner(keys.partition(load.channels[0]))
        lost, replica = await of(cluster, load, master), await cluster.replica_of(master)
        assert 0 < len(lost) < CHANNELS
        began = time.monotonic()
        master.kill()
        await cluster.until_master(replica)
        promoted = time.monotonic()
        others = load.of([each for each in load.channels if each not in lost])
        await others.go_on()
        assert {channel for channel, number in load.refused.items() if number} <= {*lost}
        await master.start()  # now a replica: two nodes can have a write again
        await load.go_on()
        figure(f"promoted after {promoted - began:.1f} s, slowest answer {load.slowest:.2f} s")
    assert load.slowest < ANSWER_S + LOADED_S


async def test_a_planned_failover_loses_nothing(cluster: ClusterProcess, figure: Figure) -> None:
    """Without waiting for replicas: the master hands over all that it has."""
    async with loaded(cluster, wait_replicas=0) as load:
        began = time.monotonic()
        await cluster.fail_over(await cluster.owner(keys.partition(load.channels[0])))
        await load.go_on()
        figure(f"healed {time.monotonic() - began:.1f} s after the order, refused {sum(load.refused.values())}")
    assert load.slowest < ANSWER_S + LOADED_S


async def test_a_live_slot_moves(cluster: ClusterProcess, figure: Figure) -> None:
    """There and back, under load: nothing is lost, no channel gets another epoch, and the listener hears all."""
    async with loaded(cluster, wait_replicas=0) as load, listening(cluster, load) as heard:
        channel = load.channels[0]
        tag, epoch = keys.partition(channel), load.acked[channel][0].epoch
        source = await cluster.owner(tag)
        target = next(node for node in await cluster.masters() if node is not source)
        began = time.monotonic()
        await cluster.move(tag, target)
        moved = time.monotonic()
        await load.go_on()
        figure(f"moved in {moved - began:.2f} s, healed after {time.monotonic() - moved:.2f} s")
        assert await cluster.owner(tag) is target
        await heard(channel)
        await cluster.move(tag, source)
        await load.go_on()
        await heard(channel)
        assert {event.epoch for event in load.acked[channel]} == {epoch}
    assert load.slowest < ANSWER_S + LOADED_S


async def test_scripts_run_whole_or_not_at_all_while_a_slot_moves(cluster: ClusterProcess) -> None:
    """A channel of which some keys have moved is `unavailable`, and goes on where it was once all have."""
    async with loaded(cluster, wait_replicas=0) as load:
        channel = load.channels[0]
        tag = keys.partition(channel)
        source = await cluster.owner(tag)
        target = next(node for node in await cluster.masters() if node is not source)
        await cluster.begin_move(tag, target)
        await cluster.move_keys(tag, target, most=2)
        before = load.refused[channel]
        await polled(lambda: load.refused[channel] > before, HEAL_S, lambda: "a write was refused")
        others = [each for each in load.channels if keys.partition(each) != tag]
        await load.of(others).go_on()
        await cluster.move_keys(tag, target)
        await cluster.end_move(tag, target)
        await load.go_on()
        await cluster.move(tag, source)


async def test_a_frozen_master_holds_up_its_own_channels_alone(cluster: ClusterProcess, figure: Figure) -> None:
    """Its replica takes its place; when it wakes up it is a replica, and nothing that it took counts."""
    async with loaded(cluster, wait_replicas=1) as load:
        master = await cluster.owner(keys.partition(load.channels[0]))
        frozen, replica = await of(cluster, load, master), await cluster.replica_of(master)
        others = load.of([each for each in load.channels if each not in frozen])
        ends_at = time.monotonic() + HEAL_S
        master.freeze()
        try:
            while (await replica.command("ROLE"))[0] != b"master":
                assert time.monotonic() < ends_at
                await others.go_on(1)
        finally:
            master.thaw()
        thawed = time.monotonic()
        await cluster.until_master(replica)
        await load.go_on()
        figure(f"healed {time.monotonic() - thawed:.1f} s after the thaw, slowest answer {load.slowest:.2f} s")
        assert {channel for channel, number in load.refused.items() if number} <= {*frozen}
    assert load.slowest < ANSWER_S + LOADED_S


async def test_a_lost_end_is_another_epoch(cluster: ClusterProcess) -> None:
    """A replica that lacks the last message is promoted: logs that saw the message are told, and others."""
    prefix, channel = f"faults-{next(_prefixes)}:", ChannelName("faults:end")
    opened = partial(RedisMessageLog, cluster.url, max_events=100, max_age_ms=HOUR_MS, prefix=prefix)
    async with opened() as log, opened() as other:
        first = await log.append(new_message(1, channel=channel))
        master = await cluster.owner(keys.partition(channel))
        replica = await cluster.replica_of(master)
        await polled(lambda: in_step(master), HEAL_S, lambda: "the replica has the message")
        replica.freeze()
        await master.command("CLIENT", "KILL", "TYPE", "replica")
        last = await log.append(new_message(2, channel=channel))
        master.kill()
        replica.thaw()
        await cluster.until_master(replica)
        found = await eventually(lambda: other.read(channel, 0, 10))
        seen = await eventually(lambda: log.read(channel, 0, 10))
    assert first.event is not None
    assert last.event is not None
    assert (last.event.epoch, last.event.offset) == (first.event.epoch, 2)
    assert [event.offset for event in found.events] == [1]
    assert found.head.epoch != first.event.epoch
    assert seen == found


async def test_a_start_is_refused_if_waiting_would_not_help(cluster: ClusterProcess, tmp_path: Path) -> None:
    """A Redis that is no cluster, a wrong password; not a cluster that is away."""
    assert await ways.startup_error(cluster.url) is None
    assert await ways.startup_error(f"redis+cluster://127.0.0.1:{free_port()}") is None
    async with RedisProcess(tmp_path, ("--requirepass", "secret"), password="secret") as single:
        nodes = f"127.0.0.1:{free_port()},127.0.0.1:{single.port}"
        refused = await ways.startup_error(f"redis+cluster://:wrong@{nodes}")
        assert refused == "Redis refuses the user or the password"
        refused = await ways.startup_error(f"redis+cluster://:secret@{nodes}")
        assert refused is not None
        assert refused.startswith("the nodes of a Redis Cluster were expected")


async def test_a_redirection_leads_to_the_name_of_a_node(cluster: ClusterProcess) -> None:
    """Redis redirects to IP addresses, unless it is set otherwise; a certificate is for the hostname."""
    tag = keys.PARTITIONS[0]
    source = await cluster.owner(tag)
    target = next(node for node in await cluster.masters() if node is not source)
    await name_nodes(cluster, "localhost")
    nodes = Nodes(cluster.url, Master())
    exchange = ClusterExchange(nodes, patient=True)
    try:
        deadline = asyncio.get_running_loop().time() + HEAL_S
        assert await exchange.round_trip([("SET", f"{tag}name", "a")], deadline) == [b"OK"]
        assert nodes.owner(slot_of(tag)) == ("localhost", source.port)
        await cluster.move(tag, target)
        assert await exchange.round_trip([("GETDEL", f"{tag}name")], deadline) == [b"a"]
        assert nodes.owner(slot_of(tag)) == ("localhost", target.port)
    finally:
        await exchange.aclose()
        await cluster.move(tag, source)
        await name_nodes(cluster, "")


async def name_nodes(cluster: ClusterProcess, name: str) -> None:
    """Let every node announce a hostname; return once all know all."""
    for node in cluster.nodes:
        await node.command("CONFIG", "SET", "cluster-announce-hostname", name)

    async def known() -> bool:
        views = [await node.command("CLUSTER", "NODES") for node in cluster.nodes]
        return all(view.count(b",localhost ") == (len(cluster.nodes) if name else 0) for view in views)

    await polled(known, HEAL_S, lambda: "every node knows the names")


async def in_step(master: Node) -> bool:
    """Whether the replica of a master has all its writes."""
    (_, place, (replica,)) = await master.command("ROLE")
    return int(replica[2]) == int(place)


async def eventually(call: Callable[[], Awaitable[T]]) -> T:
    """Call until it is not `unavailable`."""
    async with asyncio.timeout(HEAL_S):
        while True:
            try:
                return await call()
            except Unavailable:
                await asyncio.sleep(0.05)


@dataclass
class Ears:
    """The last events that were heard."""

    broadcast: RedisBroadcast
    load: Load
    heard: dict[ChannelName, int] = field(default_factory=lambda: defaultdict(int))
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    async def listen(self) -> None:
        """Listen until cancelled."""
        async for item in self.broadcast.listen():
            if isinstance(item, MessageCreated):
                self.heard[item.channel] = max(self.heard[item.channel], item.offset)
                self.arrived.set()

    async def later(self, channel: ChannelName) -> None:
        """Wait until an event is heard that is appended from now on."""
        wanted = self.load.acked[channel][-1].offset + 1
        async with asyncio.timeout(HEAL_S):
            while self.heard[channel] < wanted:
                self.arrived.clear()
                await self.arrived.wait()


@asynccontextmanager
async def listening(cluster: ClusterProcess, load: Load) -> AsyncIterator[Callable[[ChannelName], Awaitable[None]]]:
    """Hear the load's channels; the function waits until an event that is appended from now on is heard."""
    bus = RedisBus(cluster.url, prefix=load.log.prefix)
    broadcast = RedisBroadcast(bus, SEAL)
    load.log.hint_on(bus.topic, SEAL)
    ears = Ears(broadcast, load)
    running = [asyncio.create_task(bus.run()), asyncio.create_task(ears.listen())]
    try:
        async with asyncio.timeout(HEAL_S):
            await bus.linked.wait()
            for channel in load.channels:
                await broadcast.subscribe(channel)
        yield ears.later
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await bus.aclose()
