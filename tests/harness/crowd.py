"""Members of both libraries in the same channels: they talk, are disturbed, and all have to have heard the log."""

import asyncio
import itertools
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Self

from server.domain.events import Event, MessageCreated
from tests.clients.account import Entry, Outgoing, entry
from tests.clients.javascript import CoreJsClient
from tests.clients.python import PyClient
from tests.harness.cluster import Cluster
from tests.harness.tokens import token
from tests.harness.waiting import pause, until

Client = CoreJsClient | PyClient
CROWD_LIMIT = 30
"""Members until every replica has one; three replicas by chance need five on the average."""

HASTE: dict[str, Any] = {"backoffMinMs": 150, "backoffMaxMs": 400, "inFlight": 16, "outboxLimit": 10_000}
"""For our JavaScript core, so that a test does not wait for a person's patience."""

TALKS_EVERY_S = 0.08

ACKED_S = 30.0
"""In which everything that was said is acked, once nothing is in the way."""

HEARD_S = 20.0
"""In which everybody has heard what is in the log, once nothing is in the way."""


@dataclass
class Crowd:
    """Who is there, in which channels, and what they have sent. `changed` is set when any of them hears something."""

    cluster: Cluster
    channels: Sequence[str]
    changed: asyncio.Event
    members: dict[str, Client] = field(default_factory=dict)
    sent: defaultdict[str, list[Outgoing]] = field(default_factory=lambda: defaultdict(list))
    probes: int = 0

    @property
    def acked(self) -> int:
        """How many messages have their ack."""
        return sum(len(client.acks) for client in self.members.values())

    @property
    def heard(self) -> int:
        """How many events have been delivered, all members together."""
        return sum(len(events) for client in self.members.values() for events in client.received.values())

    @property
    def pythons(self) -> list[PyClient]:
        """The members that keep count by themselves, and so see every fault."""
        return [client for client in self.members.values() if isinstance(client, PyClient)]

    async def send(self, user: str, messages: Sequence[Outgoing], in_flight: int) -> None:
        """One member sends; returns when all of it is acked."""
        client = self.members[user]
        self.sent[user] += messages
        if isinstance(client, PyClient):
            await client.send_all(messages, in_flight)
        else:
            await client.send_all(messages)

    def owed(self) -> dict[str, list[str]]:
        """The keys of the messages that wait for their ack, by member."""
        return {
            user: [message.key for message in sent if message.key not in self.members[user].acks]
            for user, sent in self.sent.items()
        }

    async def reach(self, acked: int, timeout: float = 60.0) -> None:
        """Wait until so many messages are acked."""
        await until(lambda: self.acked >= acked, self.changed, timeout, lambda: f"{acked} acks; there are {self.acked}")

    async def probe(self, timeout: float = 40.0) -> float:
        """Send once to every channel, and wait until every member has heard it; return how many seconds it took."""
        began = time.perf_counter()
        prober = self.pythons[0]
        self.probes += 1
        probes = [Outgoing(channel, "probe", f"probe-{self.probes}-{channel}") for channel in self.channels]
        async with asyncio.timeout(timeout):
            await prober.send_all(probes, len(probes))
        for probe in probes:
            for client in self.members.values():
                await client.heard(probe.channel, prober.acks[probe.key]["offset"], timeout)
        return time.perf_counter() - began

    async def check(self) -> int:
        """The log is dense, holds each acked message where its ack says and everything once, in its sender's order;
        every member's events are the log, and nobody complains. Return how many events there are."""
        count = 0
        for channel in self.channels:
            log = [entry_of(event) for event in await self.cluster.events(channel)]
            count += len(log)
            assert [offset for offset, *_ in log] == list(range(1, len(log) + 1))
            for user, client in self.members.items():
                await client.heard(channel, len(log), HEARD_S)
                assert client.entries(channel) == log, (user, channel)
                sent = [message for message in self.sent[user] if message.channel == channel]
                mine = [found for found in log if found[2].startswith(f"{user}-")]
                assert [(key, text) for _, _, key, text in mine] == [(each.key, each.text) for each in sent]
                acked = [entry(ack["message"]) for ack in client.acks.values() if ack["message"]["channel"] == channel]
                assert set(acked) <= set(log)
                assert set(mine) <= set(acked)
        assert {user: client.faults for user, client in self.members.items() if client.faults} == {}
        assert self.cluster.faults() == []
        return count


async def gather(
    stack: AsyncExitStack, cluster: Cluster, channels: Sequence[str], pairs: int = 3, *, may_reset: bool = False
) -> Crowd:
    """So many pairs of a member on our JavaScript core and one on a plain python-socketio, each in every channel; and
    more of the latter, until every replica has somebody."""
    crowd = Crowd(cluster, channels, asyncio.Event())
    seats: list[int] = []
    for number in range(CROWD_LIMIT):
        client: Client
        if number < 2 * pairs and number % 2:
            user = f"js{number}"
            client = CoreJsClient(cluster.url, token(user), crowd.changed, may_reset=may_reset, **HASTE)
        else:
            user = f"py{number}"
            client = PyClient(cluster.url, token(user), crowd.changed, may_reset=may_reset)
        crowd.members[user] = await stack.enter_async_context(client)
        for channel in channels:
            await client.join(channel)
        seats = await cluster.seats()
        if number + 1 >= 2 * pairs and all(seats):
            return crowd
    raise AssertionError(f"{CROWD_LIMIT} members, and still a replica without one: {seats}")


class Talk:
    """Everybody talks at a steady rate, all together about `rate` messages a second in all (or only some) channels,
    while this context is entered.

    On leaving it, the last message is acked. A member has at most one message under way in a channel, so that its own
    order can be checked over any disturbance.
    """

    def __init__(self, crowd: Crowd, rate: float, channels: Sequence[str] = ()) -> None:
        self._crowd = crowd
        self._channels = channels or crowd.channels
        self._batch = min(len(self._channels), max(1, round(rate * TALKS_EVERY_S / len(crowd.members))))
        self._over = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._talk(user)) for user in self._crowd.members]
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._over.set()
        pending = self._tasks if kind is not None else (await asyncio.wait(self._tasks, timeout=ACKED_S))[1]
        for task in pending:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=kind is not None or bool(pending))
        assert not pending, f"not acked within {ACKED_S} s: {self._crowd.owed()}"

    async def _talk(self, user: str) -> None:
        turns = itertools.cycle(self._channels)
        for number in itertools.count():
            messages = [
                Outgoing(channel, f"{user} says {number}", f"{user}-{number}-{channel}")
                for channel in itertools.islice(turns, self._batch)
            ]
            pace = asyncio.create_task(pause(self._over, TALKS_EVERY_S))
            await self._crowd.send(user, messages, self._batch)
            if await pace:
                return


def entry_of(event: Event) -> Entry:
    """What is compared of a message in the log."""
    assert isinstance(event, MessageCreated)
    return event.offset, event.message.id, event.message.key or "", event.message.text
