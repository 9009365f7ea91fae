"""The log is lost, or comes back older: every client is told, while connected or at its return, and knows the new one.

Nobody's view has a hole or a wrong offset: what a client reads again after it was told, and hears from then on, is the
log.
"""

import asyncio
import signal
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from tests.clients.account import Entry, entry
from tests.clients.group import Client, Group
from tests.clients.python import PyClient
from tests.e2e.cluster.gathering import entry_of, gather
from tests.harness.cluster import Cluster
from tests.harness.waiting import until

CHANNELS = tuple(f"room:{number}" for number in range(4))
RATE = 250
SOME = 300
"""Messages of talk between two disturbances."""

TOLD_S = 10.0
"""In which whoever is connected knows that the log is another."""

PAGE = 100

REASONS = {"epoch_changed", "ahead_of_log"}

Figure = Callable[[str], None]


class Visitors:
    """A client of each library that says nothing, goes away and comes back with its positions."""

    def __init__(self, group: Group) -> None:
        self._js, self._py = group.core("jo"), group.python("pia")
        self.clients: dict[str, Client] = {"jo": self._js, "pia": self._py}

    @classmethod
    async def arrive(cls, stack: AsyncExitStack, group: Group) -> "Visitors":
        """Connect, and join everything."""
        visitors = cls(group)
        for client in visitors.clients.values():
            await stack.enter_async_context(client)
            for channel in group.channels:
                await client.join(channel)
        return visitors

    async def go(self) -> None:
        """Leave."""
        await self._js.ask("close")
        await self._py.disconnect()

    async def come_back(self) -> None:
        """Come back from where they were."""
        before = self._js.connects
        await self._js.ask("connect")
        await self._py.connect()
        await until(lambda: self._js.connects > before, self._js.changed, TOLD_S, lambda: "jo is not back")


async def history(client: Client, channel: str, upto: int) -> list[Entry]:
    """All messages up to an offset, as this client reads them."""
    found: list[dict[str, Any]] = []
    more, before = upto > 0, upto + 1
    while more:
        page = {"channel": channel, "before": before, "limit": PAGE}
        if isinstance(client, PyClient):
            answer = await client.ask("history:read", page)
        else:
            answer = await client.ask("history", **page)
        found = answer["messages"] + found
        more, before = answer["more"], found[0]["offset"]
    return [entry(message) for message in found]


async def told(group: Group, clients: dict[str, Client]) -> float:
    """Wait until each of these has been told of each channel that it has lost track; return how long that took."""
    began = time.perf_counter()

    def missing() -> list[tuple[str, str]]:
        return [(user, room) for user, client in clients.items() for room in group.channels if not client.resets[room]]

    await until(lambda: not missing(), group.changed, TOLD_S, lambda: f"not told: {missing()}")
    return time.perf_counter() - began


async def check_view(client: Client, channel: str, log: list[Entry], epoch: str) -> None:
    """What the client reads again, up to where it was told to go on, and what it has heard since, is the log."""
    reset = client.resets[channel][-1]
    assert {each.reason for each in client.resets[channel]} <= REASONS

    def since() -> list[dict[str, Any]]:
        return client.received[channel][reset.heard :]

    def story() -> str:
        return f"{channel}: {len(log)} events; {reset}, {len(since())} since"

    await until(lambda: reset.offset + len(since()) >= len(log), client.changed, TOLD_S, story)
    assert (reset.epoch, {event["epoch"] for event in since()}) == (epoch, {epoch}), story()
    again = await history(client, channel, reset.offset)
    assert again + [entry(event["message"]) for event in since()] == log, story()


async def check(cluster: Cluster, clients: dict[str, Client]) -> int:
    """Hold every client's view against the log; return the number of events."""
    count = 0
    for channel in CHANNELS:
        events = await cluster.events(channel)
        log = [entry_of(event) for event in events]
        count += len(log)
        assert [offset for offset, *_ in log] == list(range(1, len(log) + 1))
        for client in clients.values():
            await check_view(client, channel, log, events[-1].epoch)
    assert {user: client.faults for user, client in clients.items() if client.faults} == {}
    assert cluster.faults() == []
    return count


async def test_everything_is_flushed(tmp_path: Path, figure: Figure) -> None:
    """`FLUSHALL` in the middle of talk: a new epoch, of which everybody is told, of silent channels too, and whoever is
    away when back."""
    async with AsyncExitStack() as stack:
        cluster = await stack.enter_async_context(Cluster(tmp_path))
        group = await gather(stack, cluster, CHANNELS, pairs=2, may_reset=True)
        visitors = await Visitors.arrive(stack, group)
        await group.probe()
        async with group.talking(RATE, CHANNELS[:2]):
            await group.reach(SOME)
            await visitors.go()
            await cluster.redis.command("FLUSHALL")
            seconds = await told(group, group.members)
            await group.reach(group.acked + SOME)
            await visitors.come_back()
            await told(group, visitors.clients)
            await group.reach(group.acked + SOME)
        await group.probe()
        count = await check(cluster, group.members | visitors.clients)
    figure(f"everybody told after {seconds:.2f} s; {count} events in the new log")


async def test_redis_comes_back_older(tmp_path: Path, figure: Figure) -> None:
    """Redis is killed and comes back as it was some hundred messages ago, and is written on: everybody is told."""
    async with AsyncExitStack() as stack:
        cluster = await stack.enter_async_context(Cluster(tmp_path))
        group = await gather(stack, cluster, CHANNELS, pairs=2, may_reset=True)
        visitors = await Visitors.arrive(stack, group)
        async with group.talking(RATE):
            await group.reach(SOME)
            cluster.redis.save(tmp_path / "moment")
            await group.reach(group.acked + SOME)
            await visitors.go()
            await group.reach(group.acked + SOME)
            await cluster.redis.restore(tmp_path / "moment")
            seconds = await told(group, group.members)
            await visitors.come_back()
            await told(group, visitors.clients)
            await group.reach(group.acked + 2 * SOME)
        count = await check(cluster, group.members | visitors.clients)
    figure(f"everybody told after {seconds:.2f} s; {count} events in the log at the end")


async def test_redis_comes_back_older_and_overtakes(tmp_path: Path, figure: Figure) -> None:
    """Before any replica can look, the older log is written on past the offsets that clients know: they are told, and
    nobody takes the new event at a known offset for the old one."""
    async with AsyncExitStack() as stack:
        cluster = await stack.enter_async_context(Cluster(tmp_path))
        group = await gather(stack, cluster, CHANNELS, pairs=2, may_reset=True)
        visitors = await Visitors.arrive(stack, group)
        async with group.talking(RATE):
            await group.reach(SOME)
            cluster.redis.save(tmp_path / "moment")
            await group.reach(group.acked + SOME)
        await visitors.go()
        for replica in cluster.replicas:
            replica.send_signal(signal.SIGSTOP)
        await cluster.redis.restore(tmp_path / "moment")
        for channel in CHANNELS:
            await cluster.write(channel, SOME)
        for replica in cluster.replicas:
            replica.send_signal(signal.SIGCONT)
        coming = asyncio.create_task(visitors.come_back())
        seconds = await told(group, group.members)
        await coming
        await told(group, visitors.clients)
        await group.probe()
        count = await check(cluster, group.members | visitors.clients)
    figure(f"everybody told after {seconds:.2f} s; {count} events in the log at the end")
