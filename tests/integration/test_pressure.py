"""Clients that take too little or send too much: what they cost is bounded, and nobody else pays it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from tests.clients.frames import masked
from tests.clients.raw import RawSocket, event
from tests.conftest import Figure
from tests.harness.server import ServerProcess
from tests.harness.waiting import pause
from tests.integration.conftest import Scene

pytestmark = pytest.mark.asyncio(loop_scope="module")

LOOPS = ["uvloop", "asyncio"]

MIB = 1 << 20
COST = {"uvloop": 1.5 * MIB, "asyncio": 2.5 * MIB}
"""Per reader, with the noise of the measurement. CPython 3.11's asyncio keeps what waits in one bytearray, whose growth
leaves as much again behind; uvloop, which is what runs, keeps one reference to the shared frame."""

BIG = {"text": "漢" * 4_000, "data": {"pad": "x" * 8_000}}
"""About 20 KB on the wire."""

VOLUME = 150
"""Big messages: 3 MB, which is the limit, the kernel's buffers and half as much again."""

READERS = 8


async def send_big(writer: RawSocket, channel: str, count: int, witness: RawSocket | None = None) -> None:
    """Send messages, and see each acked, and received by a witness."""
    for _ in range(count):
        sent = await writer.ask("message:send", {"channel": channel, **BIG})
        if witness is not None:
            assert (await witness.event("message:created"))["offset"] == sent["offset"]


class Peak:
    """The most memory that a process has had since it was last looked at."""

    def __init__(self, server: ServerProcess) -> None:
        self._server = server
        self.bytes = server.memory()

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Look every 20 ms while the body runs."""
        stop = asyncio.Event()

        async def look() -> None:
            while not stop.is_set():
                self.bytes = max(self.bytes, self._server.memory())
                await pause(stop, 0.02)

        task = asyncio.create_task(look())
        try:
            yield
        finally:
            stop.set()
            await task


async def test_readers_that_stop_reading_cost_a_mebibyte_each(
    scene: Scene, figure: Figure, request: pytest.FixtureRequest
) -> None:
    """One that pongs but does not read is closed as slow with about 1 MiB waiting; it comes back and resumes all."""
    channel = "room:slow"
    writer, witness = await scene.chat("writer"), await scene.chat("witness")
    await witness.ask("channel:join", {"channel": channel})
    # What the log, the ring and the allocator keep is there before the measurement.
    await send_big(writer, channel, VOLUME, witness)
    before = Peak(scene.server)
    readers = [await scene.chat("slow", receive_buffer=4_096) for _ in range(READERS)]
    for reader in readers:
        joined = await reader.ask("channel:join", {"channel": channel})
        assert joined["offset"] == VOLUME
    peak = Peak(scene.server)
    async with AsyncExitStack() as pongs, peak.watched():
        for reader in readers:
            await pongs.enter_async_context(reader.showing_life())
        await send_big(writer, channel, VOLUME, witness)
        for reader in readers:
            line = await scene.ended(reader, "slow reader", 1013)
            assert line["user"] == "slow"
    cost = (peak.bytes - before.bytes) / READERS
    figure(f"{cost / MIB:.2f} MiB a slow reader (memory {before.bytes / MIB:.0f} -> {peak.bytes / MIB:.0f} MiB)")
    assert cost <= COST[request.node.callspec.params["server"]]
    for client in (writer, witness):
        await client.leave()
    await scene.clean()


async def test_a_slow_reader_comes_back(scene: Scene) -> None:
    """What a slow reader missed is more than may be replayed: it is told so, stays, and reads it all page by page."""
    channel = "room:comes-back"
    writer = await scene.chat("writer")
    reader = await scene.chat("slow", receive_buffer=4_096)
    joined = await reader.ask("channel:join", {"channel": channel})
    await send_big(writer, channel, VOLUME)
    await scene.ended(reader, "slow reader", 1013)
    position = {"epoch": joined["epoch"], "offset": joined["offset"]}
    again = await scene.chat("slow", resume={channel: position}, receive_buffer=4_096)
    resumed = await again.event("channel:resumed")
    assert (resumed["recovered"], resumed["reason"], resumed["offset"]) == (False, "too_far_behind", VOLUME)
    offsets: list[int] = []
    more = True
    while more:
        after = offsets[-1] if offsets else 0
        page = await again.ask("history:read", {"channel": channel, "after": after, "limit": 100})
        offsets += [message["offset"] for message in page["messages"]]
        more = page["more"]
    assert offsets == list(range(1, VOLUME + 1))
    assert (await writer.ask("message:send", {"channel": channel, "text": "live"}))["ok"]
    assert (await again.event("message:created"))["offset"] == VOLUME + 1
    for client in (writer, again):
        await client.leave()
    await scene.clean()


async def test_a_resume_larger_than_what_may_wait(scene: Scene) -> None:
    """Six channels of 600 KB each come back whole over a slow line: the server waits for the reader between them."""
    writer = await scene.chat("writer")
    resume: dict[str, object] = {}
    for channel in (f"room:resumed-{number}" for number in range(6)):
        await send_big(writer, channel, 30)
        head = await writer.ask("history:read", {"channel": channel, "limit": 1})
        resume[channel] = {"epoch": head["epoch"], "offset": 0}
    reader = await scene.chat("reader", resume=resume, receive_buffer=4_096)
    for channel in resume:
        resumed = await reader.event("channel:resumed")
        assert (resumed["channel"], resumed["recovered"], len(resumed["events"])) == (channel, True, 30)
    for client in (writer, reader):
        await client.leave()
    await scene.clean()


async def test_a_reader_that_is_slow_but_steady_stays(scene: Scene) -> None:
    """Who takes long but never has a mebibyte waiting gets everything."""
    channel = "room:steady"
    writer, reader = await scene.chat("writer"), await scene.chat("steady", receive_buffer=4_096)
    await reader.ask("channel:join", {"channel": channel})
    for _ in range(10):
        await send_big(writer, channel, 30)
        assert len(await reader.events("message:created", 30)) == 30
    for client in (writer, reader):
        await client.leave()
    await scene.clean()


async def test_who_asks_much_and_reads_nothing_is_cut(scene: Scene, figure: Figure) -> None:
    """Answers count like events: a client that asks for history without reading is closed as slow."""
    channel = "room:greedy"
    writer = await scene.chat("writer")
    await send_big(writer, channel, 40)
    client = await scene.chat("greedy", receive_buffer=4_096)
    peak = Peak(scene.server)
    before = peak.bytes
    async with peak.watched():
        client.push(b"".join(masked(event("history:read", {"channel": channel}, ack=n)) for n in range(2_000)))
        await scene.ended(client, "slow reader", 1013)
    figure(f"{(peak.bytes - before) / MIB:.1f} MiB at most")
    assert peak.bytes - before < 32 * MIB
    await writer.leave()
    await scene.clean()


async def test_a_flood_of_20000_commands_is_bounded(scene: Scene, figure: Figure) -> None:
    """A client that sends as fast as it can is slowed by TCP, never by memory or tasks; others go on meanwhile."""
    client = await scene.chat("flood")
    idle = (await scene.server.counts())["tasks"]
    command = event("channel:leave", {"channel": "room:flood"})
    flood = masked(command) * 19_999 + masked(event("channel:leave", {"channel": "room:flood"}, ack=5))
    peak = Peak(scene.server)
    before = peak.bytes
    tasks = 0
    async with peak.watched():
        sending = asyncio.create_task(client.send(flood))
        done = asyncio.create_task(client.ack(5, timeout=30))
        while not done.done():
            tasks = max(tasks, (await scene.server.counts())["tasks"])
            await scene.bystander.unharmed(1)
        assert (await done)["ok"]
        await sending
    figure(f"memory +{(peak.bytes - before) / MIB:.1f} MiB, tasks +{tasks - idle}")
    assert peak.bytes - before < 8 * MIB
    assert tasks - idle <= 12
    await client.leave()
    await scene.clean()
