"""Thousands who come at once, leave at once, come back at once: all get in, nobody else waits long, nothing is left."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bench.machine import raise_file_limit
from bench.processes import cpu_s
from tests.clients.raw import RawSocket, handshake
from tests.clients.storm import FILES, Storm
from tests.conftest import Figure
from tests.harness.scrape import Samples, read, scraped
from tests.harness.server import ServerProcess
from tests.harness.tokens import token
from tests.integration.conftest import blameless

pytestmark = [pytest.mark.alone, pytest.mark.asyncio(loop_scope="module")]

SPARE_FILES = 200
CROWD = min(3_000, raise_file_limit(FILES) - SPARE_FILES)

ARRIVAL_CPU_MS = 4.0
"""A client's handshake, token and join take some 0.3 ms of processor time, and twice that where others work, too."""

END_CPU_MS = 1.0
"""A client's end takes some 0.04 ms on a quiet machine."""

ANSWER_S = 2.0
"""The longest wait of a bystander, on a machine that has other things to do: a storm's work comes in small portions."""

WATCHED_S = 0.01
"""Between a bystander's questions."""

STILL = asyncio.Event()
"""Is never set."""


async def samples(server: ServerProcess) -> Samples:
    """What `/metrics` says."""
    return read(await scraped(server.internal_port))


class Watch:
    """A client that asks the server something again and again; `longest_s` is how long it ever waited."""

    def __init__(self, client: RawSocket) -> None:
        self._client = client
        self.longest_s = 0.0

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """Ask while the body runs."""
        over = asyncio.Event()
        task = asyncio.create_task(self._ask(over))
        try:
            yield
        finally:
            over.set()
            await task

    def leave(self) -> None:
        """Stop being there."""
        self._client.vanish()

    async def _ask(self, over: asyncio.Event) -> None:
        while not over.is_set():
            began = time.perf_counter()
            await self._client.ask("channel:leave", {"channel": "room:nobody"})
            self.longest_s = max(self.longest_s, time.perf_counter() - began)
            await asyncio.wait([asyncio.ensure_future(over.wait())], timeout=WATCHED_S)


def full_collections(seen: Samples) -> float:
    """How often all generations of objects have been searched for garbage."""
    return seen['python_gc_collections_total{generation="2"}']


async def come(server: ServerProcess, storm: Storm) -> float:
    """All arrive at once, and are in; return the CPU seconds of it."""
    before = cpu_s([server.pid])
    assert (await storm.arrive(CROWD)).clients == CROWD
    cpu = cpu_s([server.pid]) - before
    await server.settled(connections=CROWD + 1, sessions=CROWD + 1, channels=1)
    return cpu


async def go(server: ServerProcess, storm: Storm, how: str) -> float:
    """All leave at once; return the CPU seconds of it."""
    before = cpu_s([server.pid])
    if how == "killed":
        await storm.kill()
    else:
        assert await storm.close() == CROWD
    await server.settled(connections=1, sessions=1, timeout=30.0)
    return cpu_s([server.pid]) - before


@pytest.mark.parametrize("how", ["killed", "closed"])
async def test_all_come_and_all_go(tmp_path: Path, figure: Figure, how: str) -> None:
    """Everybody who arrives at once gets in, joins, and leaves at once, by `kill -9` or with a goodbye; a bystander is
    answered all the while, counts go back, each end has its one line, and no full garbage collection comes between.
    """
    async with ServerProcess(tmp_path, {"MARU_ADMISSION_RATE": "0"}) as server, Storm(server.port) as storm:
        watch = Watch(await RawSocket.chat(server.port, token("watch")))
        collections = full_collections(await samples(server))
        async with watch.kept():
            arrival = await come(server, storm)
            waited, watch.longest_s = watch.longest_s, 0.0
            departure = await go(server, storm, how)
        assert full_collections(await samples(server)) == collections
        assert max(waited, watch.longest_s) < ANSWER_S
        assert arrival / CROWD * 1e3 < ARRIVAL_CPU_MS
        assert departure / CROWD * 1e3 < END_CPU_MS
        watch.leave()
        assert await server.terminate() == 0
    blameless(server.lines, server.output)
    assert sum(line.get("event") == "connection.closed" for line in server.lines) == CROWD + 1
    figure(
        f"{CROWD} come: {arrival / CROWD * 1e6:.0f} us of CPU each, others wait {waited * 1e3:.0f} ms at the most; "
        f"they go: {departure / CROWD * 1e6:.0f} us, {watch.longest_s * 1e3:.0f} ms"
    )


async def test_a_reconnect_storm_is_served_from_memory(tmp_path: Path, figure: Figure) -> None:
    """Everybody comes back with a position: the log is read for none of them."""
    async with ServerProcess(tmp_path) as server, Storm(server.port) as storm:
        writer = await RawSocket.chat(server.port, token("writer"))
        joined = await writer.ask("channel:join", {"channel": "room:storm"})
        for number in range(20):
            assert (await writer.ask("message:send", {"channel": "room:storm", "text": str(number)}))["ok"]
        count = CROWD // 3
        before = cpu_s([server.pid])
        since = {"epoch": joined["epoch"], "offset": joined["offset"] + 5}
        assert (await storm.arrive(count, {"room:storm": since})).clients == count
        figure(f"{count} come back: {(cpu_s([server.pid]) - before) / count * 1e6:.0f} us of CPU each")
        writer.vanish()
        seen = await samples(server)
        assert seen['maru_replays_total{source="ring"}'] == count
        assert seen['maru_replays_total{source="log"}'] == 0
        assert seen['maru_resumes_total{result="recovered"}'] == count


RATE, BURST, ARRIVALS = 100, 100, 300


class Outcome:
    """What the clients of a paced storm met."""

    def __init__(self) -> None:
        self.refusals = 0
        self.waits: Counter[int] = Counter()
        self.inside: list[RawSocket] = []


async def persist(port: int, number: int, outcome: Outcome) -> None:
    """Come in, however often it takes, waiting as one is told."""
    while True:
        client = await RawSocket.dial(port)
        client.push(handshake())
        head, body = await client.whole_response()
        if head.startswith(b"HTTP/1.1 101 "):
            await client.text()
            await client.join_chat(token(f"user-{number}"))
            outcome.inside.append(client)
            return
        fields = head.decode().lower().split("\r\n")
        assert fields[0].startswith("http/1.1 503 ")
        assert "connection: close" in fields
        assert body == b'{"code":3,"message":"Too many at once"}'
        await client.eof()
        outcome.refusals += 1
        wait_s = int(next(field for field in fields if field.startswith("retry-after: ")).partition(": ")[2])
        outcome.waits[wait_s] += 1
        await asyncio.wait([asyncio.ensure_future(STILL.wait())], timeout=wait_s)


async def test_a_storm_over_the_rate_is_paced(tmp_path: Path, figure: Figure) -> None:
    """Over the burst a handshake is told 503 and when to come again; who does as told gets in."""
    env = {"MARU_ADMISSION_RATE": str(RATE), "MARU_ADMISSION_BURST": str(BURST)}
    async with ServerProcess(tmp_path, env) as server:
        outcome, began = Outcome(), time.perf_counter()
        async with asyncio.timeout(60.0), asyncio.TaskGroup() as clients:
            for number in range(ARRIVALS):
                clients.create_task(persist(server.port, number, outcome))
        seconds = time.perf_counter() - began
        await server.settled(connections=ARRIVALS, sessions=ARRIVALS)
        assert outcome.refusals > 0
        assert (await samples(server))['maru_admission_refusals_total{reason="rate"}'] == outcome.refusals
        # The bucket lets in no more than this, however long the machine takes over it.
        assert BURST + RATE * seconds >= ARRIVALS
        figure(f"{ARRIVALS} in after {seconds:.1f} s; told to wait, in seconds: {dict(sorted(outcome.waits.items()))}")
        for client in outcome.inside:
            client.vanish()
        await server.settled(connections=0, sessions=0)
