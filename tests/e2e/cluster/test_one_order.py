"""Twenty thousand messages through three replicas: one order, for everybody, by whichever replica."""

import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.clients.account import Outgoing
from tests.clients.group import Group
from tests.e2e.cluster.gathering import check, gather
from tests.harness.cluster import Cluster
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


async def speak(group: Group) -> None:
    """Let everybody send at once; return when all of it is acked."""
    share, rest = divmod(MESSAGES, len(group.members))
    messages = {user: messages_of(user, share + (number < rest)) for number, user in enumerate(group.members)}
    await group.speak(messages, IN_FLIGHT)


@pytest.mark.alone
@pytest.mark.timeout(300)  # 20,000 messages to every member: some 40 s of two quiet processors
@pytest.mark.parametrize("method", ["sticky", "random"])
async def test_every_member_sees_one_order(tmp_path: Path, method: Method, figure: Callable[[str], None]) -> None:
    """20,000 concurrent messages in 20 channels on three replicas: every member hears the log, in its order, once."""
    async with AsyncExitStack() as stack:
        cluster = await stack.enter_async_context(Cluster(tmp_path, method))
        group = await gather(stack, cluster, CHANNELS, pairs=2)
        began = time.perf_counter()
        await speak(group)
        acked = time.perf_counter() - began
        assert await check(cluster, group) == MESSAGES
        heard = time.perf_counter() - began
        seats = await cluster.seats()
        assert [client.connects for client in group.members.values()] == [1] * len(group.members)
        assert group.heard == MESSAGES * len(group.members)
    figure(f"members {seats}: {MESSAGES / acked:,.0f} messages/s acked, {group.heard / heard:,.0f} deliveries/s in all")
