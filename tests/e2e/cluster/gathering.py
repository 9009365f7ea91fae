"""Clients on every replica of a cluster, and the check of all that they have heard."""

from collections.abc import Sequence
from contextlib import AsyncExitStack

from server.domain.events import Event, MessageCreated
from tests.clients.account import Entry
from tests.clients.group import Group
from tests.harness.cluster import Cluster

LIMIT = 30
"""Members until every replica has one; three replicas by chance need five on the average."""


async def gather(
    stack: AsyncExitStack, cluster: Cluster, channels: Sequence[str], pairs: int = 3, *, may_reset: bool = False
) -> Group:
    """Connect pairs of a client on our JavaScript core and one on a plain python-socketio, each in every channel; and
    more of the latter, until every replica has somebody."""
    group = Group(cluster.url, channels, may_reset=may_reset)
    for number in range(LIMIT):
        if number < 2 * pairs and number % 2:
            user = f"js{number}"
            await group.enter(stack, user, group.core(user))
        else:
            user = f"py{number}"
            await group.enter(stack, user, group.python(user))
        if number + 1 >= 2 * pairs and all(await cluster.seats()):
            return group
    raise AssertionError(f"{LIMIT} members, and still a replica without one: {await cluster.seats()}")


async def check(cluster: Cluster, group: Group) -> int:
    """Hold every member against the log, and the replicas against their own; return the number of events."""
    count = 0
    for channel in group.channels:
        log = [entry_of(event) for event in await cluster.events(channel)]
        await group.check(channel, log)
        count += len(log)
    assert cluster.faults() == []
    return count


def entry_of(event: Event) -> Entry:
    """What is compared of a message in the log."""
    assert isinstance(event, MessageCreated)
    return event.offset, event.message.id, event.message.key or "", event.message.text
