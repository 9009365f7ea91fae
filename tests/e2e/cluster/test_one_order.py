"""Twenty thousand messages through three replicas: one order, for everybody, by whichever replica."""

import asyncio
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.clients.account import Outgoing
from tests.harness.cluster import Cluster
from tests.harness.crowd import Crowd, gather
from tests.harness.nginx import Method

CHANNELS = tuple(f"room:{number}" for number in range(20))
MESSAGES = 20_000
IN_FLIGHT = 64


def messages_of(user: str, count: int) -> list[Outgoing]:
    """What one user says, taking turns through the channels."""
    return [
        Outgoing(CHANNELS[number % len(CHANNELS)], f"{user} says {number}", f"{user}-{number:05}")
        for number in range(count)
    ]


async def speak(crowd: Crowd) -> None:
    """Everybody sends at once; returns when all of it is acked."""
    share, rest = divmod(MESSAGES, len(crowd.members))
    async with asyncio.TaskGroup() as sending:
        for number, user in enumerate(crowd.members):
            sending.create_task(crowd.send(user, messages_of(user, share + (number < rest)), IN_FLIGHT))


@pytest.mark.timeout(300)  # 20,000 messages to every member: some 40 s of two quiet processors
@pytest.mark.parametrize("method", ["sticky", "random"])
async def test_every_member_sees_one_order(tmp_path: Path, method: Method, figure: Callable[[str], None]) -> None:
    """20,000 concurrent messages in 20 channels on three replicas: every member hears the log, in its order, once."""
    async with AsyncExitStack() as stack:
        cluster = await stack.enter_async_context(Cluster(tmp_path, method))
        crowd = await gather(stack, cluster, CHANNELS, pairs=2)
        began = time.perf_counter()
        await speak(crowd)
        acked = time.perf_counter() - began
        assert await crowd.check() == MESSAGES
        heard = time.perf_counter() - began
        seats = await cluster.seats()
        assert [client.connects for client in crowd.members.values()] == [1] * len(crowd.members)
        assert crowd.heard == MESSAGES * len(crowd.members)
    figure(f"members {seats}: {MESSAGES / acked:,.0f} messages/s acked, {crowd.heard / heard:,.0f} deliveries/s in all")
