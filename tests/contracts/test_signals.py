"""The promises of signals, by their numbers, held by every adapter."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import NamedTuple

import pytest

from server.adapters.memory.broadcast import MemoryBroadcast
from server.adapters.memory.signals import MemorySignals
from server.adapters.nats.bus import NatsBus
from server.adapters.nats.link import Link
from server.adapters.postgres.bus import PostgresBus
from server.adapters.redis.broadcast import RedisBroadcast
from server.adapters.redis.bus import RedisBus
from server.adapters.redis.signals import RedisSignals, sealed
from server.adapters.seal import Seal
from server.adapters.signals import MAX_BYTES, encode_signal
from server.adapters.topics.broadcast import TopicBroadcast
from server.adapters.topics.bus import TopicBus
from server.adapters.topics.signals import TopicSignals
from server.adapters.topics.topics import Topics
from server.domain.channels import ChannelName
from server.domain.identity import UserId
from server.domain.signals import ReadUpdated, Signal, TypingChanged
from server.ports.broadcast import Broadcast, LinkRestored
from server.ports.signals import SIGNALS_LIMIT, Signals
from tests.contracts.redises import REDISES, RedisServer, redis_of, topic_of
from tests.doubles.samples import event
from tests.harness.process import free_port
from tests.harness.seal import SEAL, hint_at
from tests.harness.waiting import polled

DEADLINE_S = 5.0


class Side(NamedTuple):
    """A replica's way to the others."""

    broadcast: Broadcast
    signals: Signals


Open = Callable[[int], AbstractAsyncContextManager[Side]]


@asynccontextmanager
async def memory(limit: int) -> AsyncIterator[Side]:
    """Within one process."""
    broadcast = MemoryBroadcast()
    yield Side(broadcast, MemorySignals(broadcast, limit))


def over_redis(url: str) -> Open:
    """Open replicas that meet in Redis."""

    @asynccontextmanager
    async def opened(limit: int) -> AsyncIterator[Side]:
        bus = RedisBus(url)
        listening = asyncio.create_task(bus.run())
        side = Side(RedisBroadcast(bus, SEAL), RedisSignals(bus, SEAL, limit))
        try:
            async with asyncio.timeout(DEADLINE_S):
                await bus.linked.wait()
            yield side
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
            await bus.aclose()

    return opened


def over_topics(make: Callable[[], TopicBus]) -> Open:
    """Open replicas that meet on a bus with a topic for each channel."""

    @asynccontextmanager
    async def opened(limit: int) -> AsyncIterator[Side]:
        bus = make()
        topics = Topics(bus, SEAL)
        side = Side(TopicBroadcast(topics), TopicSignals(topics, limit))
        listening = asyncio.create_task(bus.run())
        try:
            async with asyncio.timeout(DEADLINE_S):
                await bus.linked.wait()
            yield side
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)

    return opened


def over_nats(url: str) -> Open:
    """Open replicas that meet in NATS."""

    @asynccontextmanager
    async def opened(limit: int) -> AsyncIterator[Side]:
        link = Link(url)
        topics = Topics(NatsBus(link), SEAL)
        side = Side(TopicBroadcast(topics), TopicSignals(topics, limit))
        async with link:
            yield side

    return opened


@pytest.fixture(params=["memory", "postgres", "nats", *REDISES])
def opened(request: pytest.FixtureRequest) -> Open:
    """Opens a replica of each kind, with a bound for the signals that wait."""
    match request.param:
        case "memory":
            return memory
        case "postgres":
            return over_topics(partial(PostgresBus, request.getfixturevalue("postgres_server").url))
        case "nats":
            return over_nats(request.getfixturevalue("nats_server").url)
        case _:
            return over_redis(redis_of(request).url)


@pytest.fixture
async def side(opened: Open) -> AsyncIterator[Side]:
    """A replica without a bound that a test would meet."""
    async with opened(SIGNALS_LIMIT) as opened_one:
        yield opened_one


@pytest.fixture
async def in_redis(any_redis: RedisServer) -> AsyncIterator[Side]:
    """A replica over Redis."""
    async with over_redis(any_redis.url)(SIGNALS_LIMIT) as opened_one:
        yield opened_one


class Ears:
    """The one listener of a replica."""

    def __init__(self, signals: Signals) -> None:
        self._heard = signals.listen()

    async def signals(self, number: int) -> list[Signal]:
        """So many signals."""
        async with asyncio.timeout(DEADLINE_S):
            return [await anext(self._heard) for _ in range(number)]


def read(channel: ChannelName, offset: int) -> Signal:
    """A signal of its own."""
    return ReadUpdated(channel, UserId("alice"), offset)


async def test_2_signals_of_subscribed_channels_are_heard(side: Side, channel: ChannelName) -> None:
    """Those of each kind, by the publisher too; others are not, and none any more after `unsubscribe`."""
    ears, other, stranger = Ears(side.signals), ChannelName(f"{channel}:other"), ChannelName(f"{channel}:stranger")
    await side.broadcast.subscribe(channel)
    kinds: list[Signal] = [
        TypingChanged(channel, UserId('a "user" ∂'), typing=True),
        TypingChanged(channel, UserId("a"), typing=False),
        ReadUpdated(channel, UserId("b"), 2**53 - 1),
    ]
    for signal in kinds:
        side.signals.publish(read(stranger, 1))
        side.signals.publish(signal)
    assert await ears.signals(3) == kinds
    await side.broadcast.subscribe(other)
    await side.broadcast.unsubscribe(channel)
    side.signals.publish(read(channel, 2))
    side.signals.publish(read(other, 3))
    assert await ears.signals(1) == [read(other, 3)]


async def test_3_signals_keep_the_order_of_publishing(side: Side, channel: ChannelName) -> None:
    """Of a replica, in a channel; and hints go beside them as ever."""
    ears, hints = Ears(side.signals), side.broadcast.listen()
    await side.broadcast.subscribe(channel)
    for offset in range(1, 501):
        side.signals.publish(read(channel, offset))
    await side.broadcast.publish(event(1, channel=channel))
    assert await ears.signals(500) == [read(channel, offset) for offset in range(1, 501)]
    async with asyncio.timeout(DEADLINE_S):
        while isinstance(hint := await anext(hints), LinkRestored):
            pass
    assert hint == event(1, channel=channel)


async def test_4_the_oldest_of_too_many_is_dropped(opened: Open, channel: ChannelName) -> None:
    """And counted; nobody waits for the listener."""
    async with opened(10) as side:
        await side.broadcast.subscribe(channel)
        for offset in range(1, 16):
            side.signals.publish(read(channel, offset))
        await polled(lambda: side.signals.dropped == 5, DEADLINE_S, lambda: "five signals are dropped")
        assert await Ears(side.signals).signals(10) == [read(channel, offset) for offset in range(6, 16)]


async def test_1_a_signal_that_can_not_be_sent_is_dropped(channel: ChannelName) -> None:
    """Without an error, a wait, or a place in the queue of the hints; and counted."""
    bus = RedisBus(f"redis://127.0.0.1:{free_port()}")
    signals = RedisSignals(bus, SEAL)
    for offset in range(20_000):
        signals.publish(read(channel, offset))
    assert signals.dropped >= 10_000
    await polled(lambda: signals.dropped == 20_000, DEADLINE_S, lambda: "all are dropped")
    await bus.aclose()


async def test_2_replicas_hear_each_other(in_redis: Side, any_redis: RedisServer, channel: ChannelName) -> None:
    """Each once."""
    async with over_redis(any_redis.url)(SIGNALS_LIMIT) as other:
        ears = [Ears(in_redis.signals), Ears(other.signals)]
        for side in (in_redis, other):
            await side.broadcast.subscribe(channel)
        in_redis.signals.publish(read(channel, 1))
        assert [await each.signals(1) for each in ears] == [[read(channel, 1)]] * 2
        other.signals.publish(read(channel, 2))
        assert [await each.signals(1) for each in ears] == [[read(channel, 2)]] * 2


async def test_only_replicas_can_signal(in_redis: Side, any_redis: RedisServer, channel: ChannelName) -> None:
    """Whatever others publish is dropped and counted: it is no hint, costs no read of the log, and nobody hears it."""
    ears, topic = Ears(in_redis.signals), topic_of(any_redis, channel)
    assert isinstance(in_redis.signals, RedisSignals)
    assert isinstance(in_redis.broadcast, RedisBroadcast)
    await in_redis.broadcast.subscribe(channel)
    good, stranger = encode_signal(read(channel, 1)), Seal(b"another secret of 32 bytes or so")
    hint = hint_at(event(1, channel=channel), topic)
    forged = [
        b"~",
        b"~" + good,
        sealed(good, topic, stranger),
        sealed(good, topic_of(any_redis, ChannelName(f"{channel}:other")), SEAL),
        sealed(good, topic, SEAL)[:-1],
        sealed(b"9" * (MAX_BYTES + 1), topic, SEAL),
        b"~" + hint,
    ]
    for payload in forged:
        await any_redis.publish(topic, payload)
    in_redis.signals.publish(read(channel, 2))
    assert await ears.signals(1) == [read(channel, 2)]
    assert (in_redis.signals.refused, in_redis.broadcast.refused) == (len(forged), 0)
    await any_redis.publish(topic, hint)
    hints = in_redis.broadcast.listen()
    async with asyncio.timeout(DEADLINE_S):
        assert [await anext(hints), await anext(hints)] == [LinkRestored(), event(1, channel=channel)]


async def test_a_signal_of_a_newer_version_is_passed_over(
    in_redis: Side, any_redis: RedisServer, channel: ChannelName
) -> None:
    """Of another kind, another version, or with fields that make no sense: as if it had been lost."""
    ears, topic = Ears(in_redis.signals), topic_of(any_redis, channel)
    assert isinstance(in_redis.signals, RedisSignals)
    await in_redis.broadcast.subscribe(channel)
    for newer in (
        b'{"v":1,"k":"waving","user":"a"}',
        b'{"v":2,"k":"typing","user":"a","typing":true}',
        b'{"v":1,"k":"typing","user":"a","typing":1}',
        b'{"v":1,"k":"read","user":"a","offset":true}',
        b'{"v":1,"k":"presence","epoch":"","version":1}',
        b"[]",
        b"\xff",
    ):
        await any_redis.publish(topic, sealed(newer, topic, SEAL))
    in_redis.signals.publish(read(channel, 2))
    assert await ears.signals(1) == [read(channel, 2)]
    assert in_redis.signals.refused == 0


async def test_replicas_without_signals_are_not_harmed(
    in_redis: Side, any_redis: RedisServer, channel: ChannelName
) -> None:
    """A replica that has no use for signals passes over them, at no cost. A version before signals judges the same
    bytes as a hint: it finds no seal, and delivers nothing."""
    bus = RedisBus(any_redis.url)
    deaf, topic = RedisBroadcast(bus, SEAL), topic_of(any_redis, channel)
    listening = asyncio.create_task(bus.run())
    try:
        await deaf.subscribe(channel)
        in_redis.signals.publish(read(channel, 1))
        await in_redis.broadcast.publish(event(1, channel=channel))
        hints = deaf.listen()
        async with asyncio.timeout(DEADLINE_S):
            assert [await anext(hints), await anext(hints)] == [LinkRestored(), event(1, channel=channel)]
        assert deaf.refused == 0
        assert deaf.believed(channel, topic, sealed(encode_signal(read(channel, 1)), topic, SEAL)) is None
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        await bus.aclose()
