"""Who hosts nothing of a busy channel pays nothing for it."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from server.adapters.redis import keys
from tests.clients.account import Outgoing
from tests.clients.javascript import BareJsClient
from tests.clients.python import PyClient
from tests.harness.cluster import Cluster, ghost_message
from tests.harness.seal import hint_at
from tests.harness.server import ServerProcess
from tests.harness.tokens import token
from tests.harness.waiting import pause

CHANNELS = tuple(f"room:{number}" for number in range(8))

RATE = 2_000
"""Messages a second in the busy channels."""

SENT = 200
"""Of these, what clients send; the rest is written and published as any other replica would do it: a test machine of
two processors has not the power for so many clients, and what the idle replica sees of a message is the same."""

SENDERS = 2
WARM_UP_S = 2.0
SECONDS = 10.0

IDLE_SHARE = 0.02
"""Of a core: the most that the idle replica may spend."""

ENOUGH = 0.9
"""Of the rate: the least that must have been reached for the figure to count."""

TICK_S = 0.2

Figure = Callable[[str], None]


class Load:
    """Messages in the channels of one replica, whose members are all connected to it, until `over`."""

    def __init__(self, cluster: Cluster, senders: list[BareJsClient]) -> None:
        self._cluster = cluster
        self._senders = senders
        self._published = 0
        self.over = asyncio.Event()

    @property
    def messages(self) -> int:
        """How many there have been so far."""
        return self._published + sum(len(sender.acks) for sender in self._senders)

    @property
    def heard(self) -> int:
        """How many events the members have been told of."""
        return sum(len(events) for sender in self._senders for events in sender.received.values())

    async def run(self) -> None:
        """Keep the rate."""
        async with asyncio.TaskGroup() as tasks:
            for number, sender in enumerate(self._senders):
                tasks.create_task(self._paced(lambda tick, n=number, by=sender: self._send(by, n, tick)))  # type: ignore[misc]
            tasks.create_task(self._publish())

    async def _paced(self, act: Callable[[int], Awaitable[None]]) -> None:
        """Act at every tick; what comes late is made up for."""
        began, tick = time.perf_counter(), 0
        while not await pause(self.over, began + tick * TICK_S - time.perf_counter()):
            await act(tick)
            tick += 1

    async def _send(self, sender: BareJsClient, number: int, tick: int) -> None:
        count = round(SENT * TICK_S / SENDERS)
        channels = CHANNELS[number::SENDERS]
        texts = [f"{number} says {tick * count + each}" for each in range(count)]
        await sender.burst([Outgoing(channels[i % len(channels)], text, text) for i, text in enumerate(texts)])

    async def _publish(self) -> None:
        count = round((RATE - SENT) * TICK_S)
        async with self._cluster.log() as log, self._cluster.redis.client() as client:

            async def write(tick: int) -> None:
                posts = [ghost_message(CHANNELS[number % len(CHANNELS)], f"{tick}") for number in range(count)]
                written = await asyncio.gather(*(log.append(post) for post in posts))
                pipeline = client.pipeline(transaction=False)
                for event in (each.event for each in written):
                    pipeline.publish(keys.topic(event.channel), hint_at(event))
                await pipeline.execute()
                self._published += count

            await self._paced(write)


def cpu_seconds(replica: ServerProcess) -> float:
    """Processor time that the process has used so far (proc(5): utime and stime)."""
    fields = Path(f"/proc/{replica.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.alone
async def test_an_idle_replica(tmp_path: Path, figure: Figure) -> None:
    """2,000 messages/s in channels of one replica: another one, with a member elsewhere, spends under 2 % of a core."""
    async with AsyncExitStack() as stack:
        cluster = await stack.enter_async_context(Cluster(tmp_path))
        busy, _, idle = cluster.replicas
        bystander = await stack.enter_async_context(PyClient(idle.url, token("bystander")))
        await bystander.join("room:quiet")
        senders = [
            await stack.enter_async_context(BareJsClient(busy.url, token(f"js{number}"))) for number in range(SENDERS)
        ]
        for number, channel in enumerate(CHANNELS):
            await senders[number % SENDERS].join(channel)
        load = Load(cluster, senders)

        def now() -> tuple[float, ...]:
            return time.perf_counter(), load.messages, load.heard, cpu_seconds(busy), cpu_seconds(idle)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(load.run())
            await pause(load.over, WARM_UP_S)
            before = now()
            await pause(load.over, SECONDS)
            after = now()
            load.over.set()
        await idle.settled(sessions=1, channels=1)
        assert (cluster.faults(), [sender.faults for sender in senders], bystander.faults) == ([], [[]] * SENDERS, [])
    seconds, *counts = (end - begin for begin, end in zip(before, after, strict=True))
    messages, heard, busy_share, idle_share = (count / seconds for count in counts)
    figure(
        f"{messages:,.0f} messages/s: the replica that hosts their channels spends {busy_share:.1%} of a core "
        f"(and delivers {heard:,.0f}/s), the idle one {idle_share:.2%}"
    )
    assert messages > ENOUGH * RATE
    assert idle_share < IDLE_SHARE
