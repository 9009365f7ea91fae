"""The link between replicas, over a real Redis that dies, freezes, cuts it off, or says nothing any more."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Self

import pytest

from server.adapters.redis import keys
from server.adapters.redis.broadcast import RedisBroadcast
from server.adapters.redis.bus import RedisBus
from server.adapters.redis.listener import PULSE_S, UNHEARD_CALLS
from server.adapters.redis.message_log import RedisMessageLog
from server.domain.channels import ChannelName
from server.domain.errors import Unavailable
from server.domain.pushes import Emitted
from server.ports.broadcast import Hint, LinkRestored
from tests.doubles.samples import HOUR_MS, ROOM, event, new_message
from tests.harness.proxy import Proxy, Relay
from tests.harness.redis import RedisProcess
from tests.harness.seal import SEAL
from tests.harness.waiting import polled

DEADLINE_S = 10.0
LIMIT_S = 2.0
BACK_S = 1.5
"""Within a second of Redis being back, and half of one for a busy machine."""

PULSE = 0.1
OTHER = ChannelName("room:2")


class Replica:
    """One replica's link: its broadcast, and what it hears."""

    def __init__(self, url: str, pulse_s: float = PULSE_S, prefix: str = keys.PREFIX) -> None:
        self.bus = RedisBus(url, prefix=prefix, pulse_s=pulse_s)
        self.broadcast = RedisBroadcast(self.bus, SEAL)
        self._hints = self.broadcast.listen()
        self._running: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._running = asyncio.create_task(self.bus.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._running is not None
        self._running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._running
        await self.bus.aclose()

    async def hint(self) -> Hint:
        """The next hint."""
        async with asyncio.timeout(DEADLINE_S):
            return await anext(self._hints)

    async def restored(self) -> None:
        """The next hint, which must be `LinkRestored`."""
        assert isinstance(await self.hint(), LinkRestored)

    async def hears(self, number: int, channel: ChannelName = ROOM) -> None:
        """Publish; the next hint must be that."""
        await self.broadcast.publish(event(number, channel=channel))
        assert await self.hint() == event(number, channel=channel)


@pytest.fixture
async def redis(tmp_path: Path) -> AsyncIterator[RedisProcess]:
    """A Redis that a test may do anything to."""
    async with RedisProcess(tmp_path / "redis") as process:
        yield process


@pytest.fixture
async def replica(redis: RedisProcess) -> AsyncIterator[Replica]:
    """A replica that is linked, and hosts ROOM."""
    async with Replica(redis.url) as one:
        await one.restored()
        await one.broadcast.subscribe(ROOM)
        yield one


async def until(holds: Callable[[], bool]) -> None:
    """Wait for a condition of which no event tells."""
    await polled(holds, DEADLINE_S, lambda: "the condition holds", every_s=0.005)


async def test_a_restart_is_healed_within_a_second(redis: RedisProcess, replica: Replica) -> None:
    """Publishing fails while Redis is away; then `LinkRestored` comes, and every topic is heard as before."""
    await replica.broadcast.subscribe(OTHER)
    redis.kill()
    with pytest.raises(Unavailable):
        await replica.broadcast.publish(event(1))
    gone = time.monotonic()
    await until(lambda: time.monotonic() - gone > 1)  # so that the tries are as far apart as they get
    assert not replica.bus.linked.is_set()
    await redis.start()
    back = time.monotonic()
    await replica.restored()
    assert time.monotonic() - back < BACK_S
    assert replica.bus.linked.is_set()
    await replica.hears(2)
    await replica.hears(2, OTHER)


async def test_a_start_without_redis_waits_for_it(redis: RedisProcess, capsys: pytest.CaptureFixture[str]) -> None:
    """There is one line when it is found to be away, and one when it is there."""
    redis.kill()
    async with Replica(redis.url) as replica:
        began = time.monotonic()
        await until(lambda: time.monotonic() - began > 0.5)  # a few tries
        assert not replica.bus.linked.is_set()
        await redis.start()
        await replica.restored()
        await replica.broadcast.subscribe(ROOM)
        await replica.hears(1)
    lines = capsys.readouterr().out
    assert (lines.count("redis.away"), lines.count("redis.linked")) == (1, 1)


async def test_subscribers_that_are_cut_off_come_back(redis: RedisProcess, replica: Replica) -> None:
    """CLIENT KILL TYPE pubsub: publishing goes on, and so does hearing, after `LinkRestored`."""
    for number in range(1, 4):
        assert await redis.command("CLIENT", "KILL", "TYPE", "pubsub") == 1
        await replica.restored()
        await replica.hears(number)


@pytest.mark.parametrize("turns", range(9))
async def test_a_link_that_fails_while_it_is_ended_ends(redis: RedisProcess, turns: int) -> None:
    """A cancellation is obeyed at whatever moment the connection is lost."""
    bus = RedisBus(redis.url)
    running = asyncio.create_task(bus.run())
    async with asyncio.timeout(DEADLINE_S):
        await bus.linked.wait()
        await redis.command("CLIENT", "KILL", "TYPE", "pubsub")
        for _ in range(turns):
            await asyncio.sleep(0)
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
    await bus.aclose()


async def test_ten_thousand_topics_come_back(redis: RedisProcess, replica: Replica) -> None:
    """All of them are asked for anew, in a few commands, before the link counts as restored."""
    channels = [ChannelName(f"many:{number}") for number in range(10_000)]
    for start in range(0, len(channels), 2_000):
        await asyncio.gather(*(replica.broadcast.subscribe(one) for one in channels[start : start + 2_000]))
    await redis.command("CLIENT", "KILL", "TYPE", "pubsub")
    await replica.restored()
    assert await redis.command("PUBSUB", "NUMPAT") == 0
    assert len(await redis.command("PUBSUB", "CHANNELS", keys.topic(ChannelName("many:*")))) == 10_000


async def test_a_frozen_redis_fails_in_time(redis: RedisProcess, replica: Replica) -> None:
    """Publishing and subscribing fail within 2 s, unsubscribing ends; later all is as it was called last."""
    redis.freeze()
    began = time.monotonic()
    results = await asyncio.gather(
        replica.broadcast.publish(event(1)),
        replica.broadcast.subscribe(OTHER),
        replica.broadcast.unsubscribe(ROOM),
        return_exceptions=True,
    )
    assert time.monotonic() - began < LIMIT_S
    assert [type(result) for result in results] == [Unavailable, Unavailable, type(None)]
    redis.thaw()
    await replica.broadcast.subscribe(OTHER)
    await replica.broadcast.publish(event(2))
    await replica.broadcast.publish(event(3, channel=OTHER))
    hints = [await replica.hint()]
    while hints[-1] != event(3, channel=OTHER):
        hints.append(await replica.hint())
    assert event(2) not in hints


async def test_a_subscription_waits_for_a_short_outage(redis: RedisProcess, replica: Replica) -> None:
    """It is confirmed by the next link; one that fails is heard all the same once the link is back."""
    redis.kill()
    await until(lambda: not replica.bus.linked.is_set())
    waiting = asyncio.create_task(replica.broadcast.subscribe(OTHER))
    await redis.start()
    await waiting
    await replica.restored()
    await replica.hears(1, OTHER)
    redis.kill()
    third = ChannelName("room:3")
    with pytest.raises(Unavailable):
        await replica.broadcast.subscribe(third)
    await replica.broadcast.unsubscribe(OTHER)
    await redis.start()
    await replica.restored()
    await replica.broadcast.publish(event(2, channel=OTHER))
    await replica.hears(2, third)


async def test_hints_are_heard_in_the_order_of_publishing(redis: RedisProcess, replica: Replica) -> None:
    """Over a thousand that one replica publishes at once, at every other replica."""
    async with Replica(redis.url) as second:
        await second.restored()
        await second.broadcast.subscribe(ROOM)
        events = [event(number) for number in range(1, 1_501)]
        await asyncio.gather(*(replica.broadcast.publish(one) for one in events))
        for each in (replica, second):
            assert [await each.hint() for _ in events] == events


async def test_only_what_is_hosted_arrives(redis: RedisProcess, replica: Replica) -> None:
    """Redis itself does not send the others, and forgets the topic when the channel is let go."""
    hosted = "PUBSUB", "CHANNELS", keys.topic(ChannelName("*"))
    assert await redis.command(*hosted) == [keys.topic(ROOM).encode()]
    await replica.broadcast.unsubscribe(ROOM)
    await replica.broadcast.subscribe(OTHER)
    assert await redis.command(*hosted) == [keys.topic(OTHER).encode()]


# Deafness


class Line(Relay):
    """A connection to Redis, which can go deaf: it stays, and what Redis says gets lost."""

    def __init__(self) -> None:
        self.subscribed = self.deaf = False

    def from_client(self, chunk: bytes) -> bytes:
        """Notice a subscriber."""
        self.subscribed |= b"SUBSCRIBE" in chunk
        return chunk

    def from_server(self, chunk: bytes) -> bytes:
        """Lose everything if deaf."""
        return b"" if self.deaf else chunk


async def test_a_deaf_listener_is_found_and_opened_anew(redis: RedisProcess) -> None:
    """It is connected, publishing works, and nothing comes: three of its calls to itself are enough to know."""
    lines: list[Line] = []

    def line() -> Line:
        lines.append(Line())
        return lines[-1]

    async with Proxy(redis.port, line) as proxy, Replica(f"redis://127.0.0.1:{proxy.port}", PULSE) as replica:
        await replica.restored()
        await replica.broadcast.subscribe(ROOM)
        await replica.hears(1)
        for each in lines:
            each.deaf = each.subscribed
        await replica.broadcast.publish(event(2))
        began = time.monotonic()
        await replica.restored()
        assert time.monotonic() - began < (UNHEARD_CALLS + 1) * PULSE + BACK_S
        assert replica.bus.deaf == 1
        await replica.hears(3)


async def test_a_silent_link_is_not_deaf(redis: RedisProcess) -> None:
    """Where nothing is said for many pulses the link stays; nor is it reopened while Redis is frozen."""
    async with Replica(redis.url, PULSE) as replica:
        await replica.restored()
        await replica.broadcast.subscribe(ROOM)
        await pulses(redis, 10)
        redis.freeze()
        with pytest.raises(Unavailable):
            await replica.broadcast.publish(event(1))  # ten pulses
        redis.thaw()
        await pulses(redis, 5)
        await replica.broadcast.publish(event(2))
        hints = [await replica.hint()]
        while hints[-1] != event(2):
            hints.append(await replica.hint())
        assert not any(isinstance(hint, LinkRestored) for hint in hints)
        assert replica.bus.deaf == 0


async def pulses(redis: RedisProcess, number: int) -> None:
    """Wait until a replica has called itself so often."""
    async with redis.client() as client, client.pubsub() as listener:
        await listener.psubscribe(keys.pulse("*"))
        async with asyncio.timeout(DEADLINE_S):
            while number:
                message = await listener.get_message(ignore_subscribe_messages=True, timeout=1.0)
                number -= message is not None


def test_deafness_is_found_within_fifteen_seconds() -> None:
    """With the pulse as it is."""
    assert (UNHEARD_CALLS + 1) * PULSE_S <= 15


@pytest.mark.parametrize("steps", range(0, 40, 3))
async def test_it_can_be_ended_while_it_connects(redis: RedisProcess, steps: int) -> None:
    """In whatever state a stop finds the listener: the library alone would miss some stops, and run on."""
    bus = RedisBus(redis.url)
    running = asyncio.create_task(bus.run())
    for _ in range(steps):
        await asyncio.sleep(0)
    running.cancel()
    _, running_on = await asyncio.wait([running], timeout=DEADLINE_S)
    assert not running_on
    await bus.aclose()


@pytest.mark.parametrize(("db", "prefix"), [(0, "other:"), (1, keys.PREFIX), (1, "other:")])
async def test_deployments_on_one_redis_hear_nothing_of_each_other(
    redis: RedisProcess, replica: Replica, db: int, prefix: str
) -> None:
    """Whether they differ by their prefix or by their database: no hint, no emit, no event of the log."""
    url = redis.url.removesuffix("/0") + f"/{db}"
    heard, heard_elsewhere = list[ChannelName](), list[ChannelName]()
    replica.bus.on_emit = lambda channel, _: heard.append(channel)
    async with Replica(url, prefix=prefix) as elsewhere:
        elsewhere.bus.on_emit = lambda channel, _: heard_elsewhere.append(channel)
        await elsewhere.restored()
        await elsewhere.broadcast.subscribe(ROOM)
        await elsewhere.bus.emit("e", 1, namespace="/chat", room=OTHER)
        await replica.bus.emit("e", 1, namespace="/chat", room=ROOM)
        await elsewhere.hears(1)
        await replica.hears(2)
        await elsewhere.hears(3)
        assert (heard, heard_elsewhere) == ([ROOM], [OTHER])
    async with (
        RedisMessageLog(redis.url, max_events=100, max_age_ms=HOUR_MS) as log,
        RedisMessageLog(url, prefix=prefix, max_events=100, max_age_ms=HOUR_MS) as log_elsewhere,
    ):
        await log.append(new_message(1))
        assert (await log_elsewhere.read(ROOM, 0, 10)).head.offset == 0


async def test_a_fault_at_a_message_costs_that_message(replica: Replica, capsys: pytest.CaptureFixture[str]) -> None:
    """The listener goes on, with a line."""
    heard = list[ChannelName]()

    def hear(channel: ChannelName, _: Emitted) -> None:
        heard.append(channel)
        if len(heard) == 1:
            raise RecursionError

    replica.bus.on_emit = hear
    for channel in (ROOM, OTHER):
        await replica.bus.emit("e", 1, namespace="/chat", room=channel)
    await replica.hears(1)
    assert heard == [ROOM, OTHER]
    assert replica.bus.losses == 0
    assert capsys.readouterr().out.count("redis.message_failed") == 1
