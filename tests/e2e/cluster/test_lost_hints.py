"""Hints are lost, repeated, late, early or invented: whoever is connected hears the log, in its order, once."""

import random
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

from server.adapters.redis import keys
from server.domain.events import LogEvent, MessageCreated
from server.domain.messages import MessageId
from tests.clients.group import Group
from tests.e2e.cluster.gathering import check, gather
from tests.harness.cluster import Cluster
from tests.harness.seal import hint_at

CHANNELS = tuple(f"room:{number}" for number in range(6))
RATE = 200
BURSTS = 8
EVENTS = 10
"""In each burst, in each channel."""

HEAL_S = 10.0
"""In which a lost hint is found, where nothing else is said in its channel."""

INVENTED = 1_000
"""Offsets beyond the log's head of a hint at an event that there is not."""

Figure = Callable[[str], None]


async def hint(cluster: Cluster, events: list[LogEvent]) -> None:
    """Tell the replicas, in this order."""
    async with cluster.redis.client() as client:
        for event in events:
            await client.publish(keys.topic(event.channel), hint_at(event))


def invented(event: LogEvent) -> list[LogEvent]:
    """Two events that no log holds: one far ahead of this one, one of another epoch."""
    assert isinstance(event, MessageCreated)
    offset = event.offset + INVENTED
    ahead = replace(event, offset=offset, message=replace(event.message, offset=offset, id=MessageId("invented")))
    return [ahead, replace(ahead, epoch="another")]


async def heard_by_all(group: Group, events: list[LogEvent], timeout: float) -> None:
    """Wait until every member has been told of each event."""
    for event in events:
        for client in group.members.values():
            await client.heard(event.channel, event.offset, timeout)


async def test_a_publisher_dies_before_it_publishes(tmp_path: Path, figure: Figure) -> None:
    """An event that is in the log and of which nobody was told reaches every member within 10 s, in a silent channel
    too."""
    async with AsyncExitStack() as stack:
        cluster = await stack.enter_async_context(Cluster(tmp_path))
        group = await gather(stack, cluster, CHANNELS)
        async with group.talking(RATE, CHANNELS[:3]):
            began = time.perf_counter()
            written = [event for channel in CHANNELS for event in await cluster.write(channel, 1)]
            await heard_by_all(group, written, HEAL_S)
            seconds = time.perf_counter() - began
        count = await check(cluster, group)
    figure(f"everybody told {seconds:.1f} s after the last word of the dead; {count} events")
    assert seconds < HEAL_S


async def test_hints_in_chaos(tmp_path: Path, figure: Figure) -> None:
    """A third of the hints is lost, the rest is told twice and out of order, with old ones and invented ones among
    them, while others talk: every member hears the log, in order, once."""
    async with AsyncExitStack() as stack:
        cluster = await stack.enter_async_context(Cluster(tmp_path))
        group = await gather(stack, cluster, CHANNELS)
        past: list[LogEvent] = []
        told = 0
        async with group.talking(RATE):
            for _ in range(BURSTS):
                fresh = [event for channel in CHANNELS for event in await cluster.write(channel, EVENTS)]
                hints = [event for event in fresh if random.random() > 1 / 3]
                hints += [*hints, *random.sample(past, min(len(past), EVENTS)), *invented(fresh[-1])]
                random.shuffle(hints)
                await hint(cluster, hints)
                past += fresh
                told += len(hints)
            began = time.perf_counter()
            await heard_by_all(group, past, HEAL_S)
            seconds = time.perf_counter() - began
        count = await check(cluster, group)
        assert [client.connects for client in group.members.values()] == [1] * len(group.members)
    figure(f"{told} odd hints at {len(past)} of {count} events; all told {seconds:.2f} s after the last")
    assert seconds < HEAL_S
