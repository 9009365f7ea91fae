"""LISTEN and NOTIFY between replicas while PostgreSQL dies, freezes, cuts connections; and its price for strangers."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
import pytest_asyncio

from server.adapters.postgres.bus import PostgresBus
from server.adapters.postgres.notices import MAX_PAYLOAD_BYTES, packed, wanted
from server.adapters.postgres.notifier import WAITING_LIMIT
from server.adapters.topics.broadcast import TopicBroadcast
from server.adapters.topics.topics import Topics
from server.domain.channels import ChannelName
from server.domain.errors import Unavailable
from server.ports.broadcast import HintsLost, LinkRestored
from tests.conftest import Figure
from tests.doubles.samples import event
from tests.harness.postgres import PgBouncer, PostgresProcess
from tests.harness.process import free_port
from tests.harness.seal import SEAL
from tests.harness.waiting import polled

pytestmark = [pytest.mark.alone, pytest.mark.asyncio(loop_scope="module")]

DEADLINE_S = 10.0
LIMIT_S = 2.0
PULSE_S = 0.2

ROOM = ChannelName("room:1")

Heard = list[tuple[ChannelName, bytes]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def postgres() -> AsyncIterator[PostgresProcess]:
    """A PostgreSQL. A test that breaks it mends it."""
    async with PostgresProcess() as process:
        yield process


@asynccontextmanager
async def running(bus: PostgresBus) -> AsyncIterator[Heard]:
    """Run a bus; yield what it hears."""
    heard: Heard = []
    bus.on_message = lambda channel, payload: heard.append((channel, payload))
    task = asyncio.create_task(bus.run())
    try:
        yield heard
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def linked(bus: PostgresBus) -> AsyncIterator[Heard]:
    """Run a bus that is linked."""
    async with running(bus) as heard, asyncio.timeout(60):
        await bus.linked.wait()
        yield heard


async def until(holds: Callable[[], bool], problem: str) -> float:
    """Wait until it holds; return how long it took."""
    began = time.monotonic()
    await polled(holds, DEADLINE_S, lambda: problem)
    return time.monotonic() - began


async def failing(bus: PostgresBus) -> str:
    """Publish, which must fail in time; return the error's text."""
    began = time.monotonic()
    with pytest.raises(Unavailable) as failure:
        await bus.publish(ROOM, b"in vain")
    assert time.monotonic() - began < LIMIT_S
    return str(failure.value)


def payloads(number: int, size: int = 600) -> list[bytes]:
    """Different payloads with any bytes."""
    return [bytes([each % 256]) + os.urandom(size) for each in range(number)]


async def test_replicas_hear_each_other(postgres: PostgresProcess) -> None:
    """Each once, in its order, whatever the bytes; also the same payload twice, and the largest."""
    one, two = PostgresBus(postgres.url), PostgresBus(postgres.url)
    async with linked(one) as heard_by_one, linked(two) as heard_by_two:
        for bus in (one, two):
            await bus.subscribe(ROOM)
        sent = [*payloads(500), *[b"again" * 500] * 20, os.urandom(MAX_PAYLOAD_BYTES), b""]
        await asyncio.gather(*(one.publish(ROOM, payload) for payload in sent), two.publish(ROOM, b"two"))
        for bus, heard in ((one, heard_by_one), (two, heard_by_two)):
            await bus.subscribe(ROOM)  # confirmed behind all that was sent
            assert [payload for _, payload in heard if payload != b"two"] == sent
            assert len(heard) == len(sent) + 1


async def test_an_event_without_room_is_hinted_at_by_its_place(postgres: PostgresProcess) -> None:
    """The replica compares the channel with the log."""
    one, two = PostgresBus(postgres.url), PostgresBus(postgres.url)
    sender, broadcast = (TopicBroadcast(Topics(bus, SEAL)) for bus in (one, two))
    tasks = [asyncio.create_task(bus.run()) for bus in (one, two)]
    try:
        hints = broadcast.listen()
        async with asyncio.timeout(DEADLINE_S):
            assert await anext(hints) == LinkRestored()
            await broadcast.subscribe(ROOM)
            large = event(1, channel=ROOM)
            await sender.publish(replace(large, message=replace(large.message, text="x" * MAX_PAYLOAD_BYTES)))
            assert await anext(hints) == HintsLost(frozenset({ROOM}))
            await sender.publish(event(2, channel=ROOM))
            assert await anext(hints) == event(2, channel=ROOM)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_connections_that_are_ended(postgres: PostgresProcess, figure: Figure) -> None:
    """Are made again within a second; all who hear are told that notices may be missing."""
    bus, restored = PostgresBus(postgres.url), list[float]()
    bus.on_restored.append(lambda: restored.append(time.monotonic()))
    async with linked(bus) as heard:
        await bus.subscribe(ROOM)
        times = []
        for number in range(1, 4):
            assert await postgres.terminate_backends() >= 1
            times.append(await until(lambda n=number: len(restored) == n + 1, "the link is whole"))  # type: ignore[misc]
        await polled(lambda: _published(bus), DEADLINE_S, lambda: "it publishes")
        await until(lambda: (ROOM, b"hi") in heard, "it is heard")
        assert bus.losses == 3
    figure(f"linked again after {max(times):.2f} s at the most")
    assert max(times) < 1.5


async def _published(bus: PostgresBus) -> bool:
    try:
        await bus.publish(ROOM, b"hi")
    except Unavailable:
        return False
    return True


async def test_killed_and_started_again(postgres: PostgresProcess, figure: Figure) -> None:
    """Publishing fails in time meanwhile, and the link is whole soon after, without a restart of ours."""
    bus = PostgresBus(postgres.url)
    async with linked(bus):
        postgres.kill()
        await until(lambda: not bus.linked.is_set(), "the loss is noticed")
        await failing(bus)
        with pytest.raises(Unavailable):
            await bus.subscribe(ChannelName("room:2"))
        await postgres.start()
        took = await until(bus.linked.is_set, "the link is whole")
        await bus.publish(ROOM, b"")
        await bus.subscribe(ROOM)
    figure(f"linked {took:.2f} s after PostgreSQL served")


async def test_frozen_is_an_outage_and_not_a_hang(postgres: PostgresProcess) -> None:
    """All who publish are told in time, also those that queue; the listener notices, and recovers."""
    bus = PostgresBus(postgres.url)
    failed = []
    async with linked(bus):
        await bus.publish(ROOM, b"")
        postgres.freeze()
        bus.tell(ROOM, b"told", lambda: failed.append("told"))
        await asyncio.gather(*(failing(bus) for _ in range(50)))
        await failing(bus)
        assert failed == ["told"]
        await until(lambda: not bus.linked.is_set(), "the loss is noticed")
        postgres.thaw()
        await until(bus.linked.is_set, "the link is whole")
        await polled(lambda: _published(bus), DEADLINE_S, lambda: "it publishes")


async def test_a_listener_behind_a_pooler_is_deaf(
    postgres: PostgresProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is told from silence, and the line names the setting. With a listener past the pooler all is well."""
    async with PgBouncer(postgres) as pooler:
        good = PostgresBus(pooler.url, postgres.url, pulse_s=PULSE_S)
        async with linked(good) as heard:
            await good.subscribe(ROOM)
            await asyncio.gather(*(good.publish(ROOM, payload) for payload in payloads(300)))
            await good.subscribe(ROOM)
            assert len(heard) == 300
            bad = PostgresBus(pooler.url, pulse_s=PULSE_S)
            async with running(bad):
                await until(lambda: bad.deaf > 0, "it is noticed")
            assert good.deaf == good.losses == 0
    assert "MARU_POSTGRES_LISTEN_URL" in capsys.readouterr().out


async def test_notices_of_strangers(postgres: PostgresProcess) -> None:
    """Whoever may connect to the database may notify: what makes no sense is counted, and harms nobody."""
    bus = PostgresBus(postgres.url)
    async with linked(bus) as heard:
        await bus.subscribe(ROOM)
        for notice in ("", "|", "room:1", "room:1|", "room:1|?|0", "room:1 room:1|aGk=|0", "room:1|aGk=|0|", "é|é|é"):
            await postgres.query("SELECT pg_notify('maru', $1)", notice)
        await bus.publish(ROOM, b"good")
        await bus.subscribe(ROOM)
        assert [payload for _, payload in heard] == [b"hi", b"good"]
        assert bus.refused == 4


async def test_what_waits_is_bounded() -> None:
    """Without PostgreSQL; over the bound a payload fails at once, and so does one that no notice has room for."""
    bus, failed = PostgresBus(f"postgresql://maru@127.0.0.1:{free_port()}/maru"), []
    for number in range(WAITING_LIMIT + 5):
        bus.tell(ROOM, b"", lambda n=number: failed.append(n))  # type: ignore[misc]
    assert len(failed) == 5
    bus.tell(ROOM, b"x" * (MAX_PAYLOAD_BYTES + 1), lambda: failed.append(-1))
    assert len(failed) == 6
    await failing(bus)
    async with running(bus):
        await until(lambda: len(failed) == WAITING_LIMIT + 6, "all have failed")
        await failing(bus)


async def test_what_waits_at_the_end_fails(postgres: PostgresProcess) -> None:
    """Nobody is left waiting when a replica stops."""
    bus = PostgresBus(postgres.url)
    async with running(bus):
        calls = [asyncio.create_task(bus.publish(ROOM, b"")) for _ in range(3)]
        await asyncio.sleep(0)
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(result) for result in results] == [Unavailable] * 3


async def test_the_price_of_a_stranger_s_traffic(postgres: PostgresProcess, figure: Figure) -> None:
    """A replica that hosts none of the channels spends little on each payload (P10): the more of them come in a notice,
    the less."""
    bus, sender = PostgresBus(postgres.url), PostgresBus(postgres.url)
    async with linked(bus) as heard, linked(sender):
        await bus.subscribe(ChannelName("room:quiet"))
        hosted = {f"room:hosted-{number}" for number in range(5_000)}
        for name, each in (("alone", 1), ("of a batch", 12)):
            foreign = [(ChannelName(f"room:{number}"), payload) for number, payload in enumerate(payloads(each, 430))]
            [notice] = packed(foreign)
            began = time.process_time()
            for _ in range(20_000):
                assert not list(wanted(notice, hosted))
            spent = (time.process_time() - began) / 20_000
            figure(f"a foreign payload of 430 bytes, {name}: {spent / each * 1e6:.2f} us to drop")
            assert spent / each < 20e-6
        began, at = time.perf_counter(), time.process_time()
        for _ in range(9):
            await asyncio.gather(*(sender.publish(ROOM, payload) for payload in payloads(1_000, 430)))
        await bus.subscribe(ChannelName("room:quiet"))
        seconds, spent = time.perf_counter() - began, time.process_time() - at
        figure(f"{9_000 / seconds:,.0f} payloads/s; to send one and to drop it twice costs {spent / 9e3 * 1e6:.1f} us")
        assert not heard
