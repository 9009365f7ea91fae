"""Replicas die, Redis goes away, under load: nothing acked is missing anywhere, nothing comes twice, and it heals."""

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.clients.group import Group
from tests.clients.javascript import CoreJsClient
from tests.clients.python import PyClient
from tests.e2e.cluster.gathering import check, gather
from tests.harness.cluster import Cluster, ready, status
from tests.harness.nginx import Method
from tests.harness.server import ServerProcess
from tests.harness.tokens import token
from tests.harness.waiting import pause

CHANNELS = tuple(f"room:{number}" for number in range(6))
RATE = 350
BEFORE = AFTER = 400
"""Messages of undisturbed talk."""

REFUSAL_S = 2.0
"""In which a command is refused while Redis is away."""

HEAL_S = 10.0
"""After which everybody has heard everything again."""

ASK_EVERY_S = 0.4

ORDINARY = frozenset(("command", "command.suppressed", "connection.closed", "presence.reaped"))
"""Log lines of which there may be any number."""

Figure = Callable[[str], None]


class Answer(NamedTuple):
    """What a command was answered, and how soon."""

    command: str
    outcome: str
    seconds: float


@dataclass
class Outage:
    """Somebody asks every replica for everything that needs Redis, for as long as it is away."""

    cluster: Cluster
    askers: list[PyClient] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    lives: list[int] = field(default_factory=list)
    felt: asyncio.Event = field(default_factory=asyncio.Event)
    _lines: list[int] = field(default_factory=list)

    @classmethod
    async def prepare(cls, stack: AsyncExitStack, cluster: Cluster) -> "Outage":
        """Connect one client to each replica, past nginx."""
        outage = cls(cluster)
        for replica in cluster.replicas:
            outage.askers.append(await stack.enter_async_context(PyClient(replica.url, token("asker"))))
        return outage

    async def last(self, strike: Callable[[], None], seconds: float, mend: Callable[[], Awaitable[None]]) -> None:
        """Let it happen, for so long."""
        self._lines = [len(replica.lines) for replica in self.cluster.replicas]
        strike()
        over = asyncio.Event()
        async with asyncio.TaskGroup() as asking:
            for number, asker in enumerate(self.askers):
                asking.create_task(self._ask(f"room:unknown-{number}", asker, over))
            for replica in self.cluster.replicas:
                asking.create_task(self._look(replica, over))
            assert not await pause(over, seconds)
            over.set()  # what is answered from here on may be well again
            await mend()

    def check(self) -> str:
        """Every command was refused in time, every replica was alive, no change was logged twice; tell the figures."""
        assert {(answer.command, answer.outcome) for answer in self.answers} == {
            ("message:send", "unavailable"),
            ("channel:join", "unavailable"),
            ("history:read", "unavailable"),
        }
        slowest = max(answer.seconds for answer in self.answers)
        assert slowest < REFUSAL_S
        assert set(self.lives) == {200}
        assert [asker.connects for asker in self.askers] == [1] * len(self.askers)
        for replica, begin in zip(self.cluster.replicas, self._lines, strict=True):
            lines = Counter(line["event"] for line in replica.lines[begin:])
            assert {event: count for event, count in lines.items() if count > 1 and event not in ORDINARY} == {}
        return f"{len(self.answers)} commands refused, the slowest after {slowest:.2f} s"

    async def _ask(self, unknown: str, asker: PyClient, over: asyncio.Event) -> None:
        for number in itertools.count():
            for command, payload in (
                ("message:send", {"channel": "room:asked", "text": "anybody there?"}),
                ("channel:join", {"channel": f"{unknown}-{number}"}),
                ("history:read", {"channel": CHANNELS[0]}),
            ):
                began = time.perf_counter()
                ack = await asker.command(command, payload)
                seconds = time.perf_counter() - began
                if over.is_set():
                    return
                self.felt.set()
                self.answers.append(Answer(command, "ok" if ack["ok"] else ack["error"]["code"], seconds))
            if await pause(over, ASK_EVERY_S):
                return

    async def _look(self, replica: ServerProcess, over: asyncio.Event) -> None:
        while not await pause(over, ASK_EVERY_S):
            self.lives.append(await status(replica, "/livez"))


@pytest.mark.parametrize("method", ["sticky", "random"])
async def test_a_replica_dies(tmp_path: Path, method: Method, figure: Figure) -> None:
    """`kill -9`: its clients come back on other replicas and resume; who sat elsewhere notices nothing."""
    async with AsyncExitStack() as stack:
        cluster = await stack.enter_async_context(Cluster(tmp_path, method))
        group = await gather(stack, cluster, CHANNELS)
        seats = await cluster.seats()
        async with group.talking(RATE):
            await group.reach(BEFORE)
            await cluster.replicas[0].kill()
            healed = await group.probe()
            await group.reach(group.acked + AFTER)
        await cluster.replicas[0].start()
        count = await check(cluster, group)
        assert sorted(client.connects for client in group.members.values()) == [1] * sum(seats[1:]) + [2] * seats[0]
    figure(f"members {seats}, the first replica killed: all well after {healed:.2f} s; {count} events")
    assert healed < HEAL_S


async def test_redis_restarts(tmp_path: Path, figure: Figure) -> None:
    """Redis is killed and comes back 2 s later: refusals meanwhile, connections stay, everybody hears everything."""
    async with AsyncExitStack() as stack:
        cluster = await stack.enter_async_context(Cluster(tmp_path))
        group = await gather(stack, cluster, CHANNELS)
        outage = await Outage.prepare(stack, cluster)
        healed = await endure(group, outage, cluster.redis.kill, 2.0, cluster.redis.start)
        count = await check(cluster, group)
        assert [client.connects for client in group.members.values()] == [1] * len(group.members)
    figure(f"all well {healed:.2f} s after Redis; {outage.check()}; {count} events")
    assert healed < HEAL_S


async def test_redis_freezes(tmp_path: Path, figure: Figure) -> None:
    """Redis is stopped for 10 s with its connections open: an outage like any other, and no hang."""
    async with AsyncExitStack() as stack:
        cluster = await stack.enter_async_context(Cluster(tmp_path))
        group = await gather(stack, cluster, CHANNELS)
        outage = await Outage.prepare(stack, cluster)

        async def thaw() -> None:
            cluster.redis.thaw()

        healed = await endure(group, outage, cluster.redis.freeze, 10.0, thaw)
        count = await check(cluster, group)
        assert [client.connects for client in group.members.values()] == [1] * len(group.members)
    figure(f"all well {healed:.2f} s after Redis; {outage.check()}; {count} events")
    assert healed < HEAL_S


async def test_redis_is_away_for_long(tmp_path: Path, figure: Figure) -> None:
    """Redis is away for 20 s: who stays stays connected, who was cut comes back, a replica that was started meanwhile
    waits; then all of them hear everything."""
    async with AsyncExitStack() as stack:
        cluster = await stack.enter_async_context(Cluster(tmp_path))
        newcomer = cluster.replica("newcomer")
        stack.push_async_exit(newcomer)
        group = await gather(stack, cluster, CHANNELS)
        outage = await Outage.prepare(stack, cluster)

        async def meanwhile() -> None:
            await outage.felt.wait()
            await cut(group)
            await newcomer.start()

        async def back() -> None:
            await arriving
            assert (await status(newcomer, "/readyz"), await status(newcomer, "/livez")) == (503, 200)
            await cluster.redis.start()

        arriving = asyncio.create_task(meanwhile())
        healed = await endure(group, outage, cluster.redis.kill, 20.0, back)
        await takes_part(newcomer, group)
        count = await check(cluster, group)
        assert sorted(client.connects for client in group.members.values()) == [1] * (len(group.members) - 2) + [2, 2]
    figure(f"all well {healed:.2f} s after Redis; {outage.check()}; {count} events")
    assert healed < HEAL_S


async def test_subscribers_are_cut(tmp_path: Path, figure: Figure) -> None:
    """`CLIENT KILL TYPE pubsub`, three times under load: each time everybody hears what was said in between."""
    async with AsyncExitStack() as stack:
        cluster = await stack.enter_async_context(Cluster(tmp_path))
        group = await gather(stack, cluster, CHANNELS)
        healed = []
        async with group.talking(RATE):
            for _ in range(3):
                await group.reach(group.acked + BEFORE)
                assert await cluster.redis.command("CLIENT", "KILL", "TYPE", "pubsub") == len(cluster.replicas)
                healed.append(await group.probe())
        count = await check(cluster, group)
        assert [client.connects for client in group.members.values()] == [1] * len(group.members)
    figure(f"all well after {', '.join(f'{seconds:.2f}' for seconds in healed)} s; {count} events")
    assert max(healed) < HEAL_S


async def endure(
    group: Group, outage: Outage, strike: Callable[[], None], seconds: float, mend: Callable[[], Awaitable[None]]
) -> float:
    """An outage in the middle of talk; return how long after it everybody was well."""
    async with group.talking(RATE):
        await group.reach(BEFORE)
        await outage.last(strike, seconds, mend)
        healed = await group.probe()
        await group.reach(group.acked + AFTER)
    return healed


async def cut(group: Group) -> None:
    """One member of each library loses its connection."""
    script = next(client for client in group.members.values() if isinstance(client, CoreJsClient))
    await script.ask("raw-disconnect")
    python = group.pythons[0]
    await python.disconnect()
    await python.connect()


async def takes_part(replica: ServerProcess, group: Group) -> None:
    """The replica became ready, said so once, and a client of its own hears what the others say."""
    await ready(replica)
    assert await status(replica, "/readyz") == 200
    changes = Counter(line["event"] for line in replica.lines if line["event"] not in ORDINARY)
    assert max(changes.values()) == 1, changes
    async with PyClient(replica.url, token("late")) as client:
        for channel in group.channels:
            await client.join(channel)
        await group.probe()
        for channel, events in group.pythons[0].received.items():
            await client.heard(channel, events[-1]["offset"])
            assert [event["message"]["text"] for event in client.received[channel]] == ["probe"]
        assert client.faults == []
