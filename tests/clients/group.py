"""A few clients of both libraries in the same channels, held by the test. They talk, and all must hear the log."""

import asyncio
import itertools
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from tests.clients.account import Entry, Outgoing, entry
from tests.clients.javascript import CoreJsClient
from tests.clients.python import PyClient
from tests.clients.talk import Speaker, Talk
from tests.harness.tokens import token
from tests.harness.waiting import until

Client = CoreJsClient | PyClient

HASTE: Mapping[str, Any] = {"backoffMinMs": 150, "backoffMaxMs": 400, "inFlight": 16, "outboxLimit": 10_000}
"""For our JavaScript core, so that a test does not wait for a person's patience."""

TALKS_EVERY_S = 0.08

ACKED_S = 30.0
"""The longest that the last acks of a talk may take, once nothing is in the way."""

REACH_S = 60.0
PROBE_S = 40.0


class Group:
    """The members and their messages, by user. `check` compares all that they heard with the log. They share `changed`.

    The clients on our JavaScript core and those on a plain python-socketio count by themselves, and see every fault.
    """

    def __init__(self, url: str, channels: Sequence[str], *, may_reset: bool = False) -> None:
        self.url, self.channels = url, channels
        self.changed = asyncio.Event()
        self.members: dict[str, Client] = {}
        self.sent: defaultdict[str, list[Outgoing]] = defaultdict(list)
        self._may_reset = may_reset
        self._probes = 0

    def core(self, user: str, **options: object) -> CoreJsClient:
        """Make a client on our JavaScript core; `enter` it."""
        options = {**HASTE, **options}
        return CoreJsClient(self.url, token(user), self.changed, may_reset=self._may_reset, **options)

    def python(self, user: str, url: str | None = None) -> PyClient:
        """Make a client on a plain python-socketio, perhaps at another server; `enter` it."""
        return PyClient(url or self.url, token(user), self.changed, may_reset=self._may_reset)

    async def enter(self, resources: AsyncExitStack, user: str, client: Client) -> None:
        """Connect a client, make it a member, and join every channel."""
        self.members[user] = await resources.enter_async_context(client)
        for channel in self.channels:
            await client.join(channel)

    @property
    def acked(self) -> int:
        """The number of messages that have their ack."""
        return sum(len(client.acks) for client in self.members.values())

    @property
    def heard(self) -> int:
        """The number of events that have been delivered, all members together."""
        return sum(len(events) for client in self.members.values() for events in client.received.values())

    @property
    def pythons(self) -> list[PyClient]:
        """The members on a plain python-socketio."""
        return [client for client in self.members.values() if isinstance(client, PyClient)]

    async def send(self, user: str, messages: Sequence[Outgoing], in_flight: int) -> None:
        """Let a member send; return when all of it is acked."""
        client = self.members[user]
        self.sent[user] += messages
        if isinstance(client, PyClient):
            await client.send_all(messages, in_flight)
        else:
            await client.send_all(messages)

    async def speak(self, messages: Mapping[str, Sequence[Outgoing]], in_flight: int) -> None:
        """Let members send all their messages at once; return when all are acked."""
        async with asyncio.TaskGroup() as sending:
            for user, outgoing in messages.items():
                sending.create_task(self.send(user, outgoing, in_flight))

    @asynccontextmanager
    async def talking(self, rate: float, channels: Sequence[str] = ()) -> AsyncIterator[None]:
        """Let everybody talk at a steady rate, together about `rate` messages a second in all (or some) channels, while
        the body runs. At the end, the last message is acked.

        A member has at most one message under way in a channel: so its order can be checked over any disturbance.
        """
        channels = channels or self.channels
        batch = min(len(channels), max(1, round(rate * TALKS_EVERY_S / len(self.members))))
        talk = Talk([self._speaker(user, channels, batch) for user in self.members], TALKS_EVERY_S)
        try:
            yield
            assert await talk.hush(ACKED_S), f"not acked within {ACKED_S} s: {self.owed()}"
        finally:
            await talk.end()

    def _speaker(self, user: str, channels: Sequence[str], batch: int) -> Speaker:
        turns = itertools.cycle(channels)

        async def speak(number: int) -> None:
            some = itertools.islice(turns, batch)
            messages = [Outgoing(channel, f"{user} says {number}", f"{user}-{number}-{channel}") for channel in some]
            await self.send(user, messages, batch)

        return speak

    def owed(self) -> dict[str, list[str]]:
        """The keys of the messages that wait for their ack, by member."""
        return {
            user: [message.key for message in sent if message.key not in self.members[user].acks]
            for user, sent in self.sent.items()
        }

    async def reach(self, acked: int) -> None:
        """Wait until a number of messages is acked."""
        await until(lambda: self.acked >= acked, self.changed, REACH_S, lambda: f"{acked} acks; there are {self.acked}")

    async def probe(self) -> float:
        """Send once to every channel, and wait until every member has heard it; return how many seconds it took."""
        began = time.perf_counter()
        prober = self.pythons[0]
        self._probes += 1
        probes = [Outgoing(channel, "probe", f"probe-{self._probes}-{channel}") for channel in self.channels]
        async with asyncio.timeout(PROBE_S):
            await prober.send_all(probes, len(probes))
        for probe in probes:
            for client in self.members.values():
                await client.heard(probe.channel, prober.acks[probe.key]["offset"], PROBE_S)
        return time.perf_counter() - began

    async def check(self, channel: str, log: Sequence[Entry]) -> None:
        """Hold every member against a channel's log.

        The log is dense. Every member's events are the log. Each acked message stands in it at the offset of the ack.
        All messages of a member are in it once, in the order of sending; all were acked. No member has seen a fault.
        """
        assert [offset for offset, *_ in log] == list(range(1, len(log) + 1))
        for user, client in self.members.items():
            await client.heard(channel, len(log))
            assert client.entries(channel) == log, (user, channel)
            sent = [message for message in self.sent[user] if message.channel == channel]
            mine = [found for found in log if found[2].startswith(f"{user}-")]
            assert [(key, text) for _, _, key, text in mine] == [(each.key, each.text) for each in sent]
            acked = {entry(ack["message"]) for ack in client.acks.values() if ack["message"]["channel"] == channel}
            assert set(mine) <= acked <= set(log)
            assert client.faults == [], user
