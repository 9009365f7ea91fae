"""The promises of the broadcast, by their numbers, held by every adapter."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial

import pytest

from server.adapters.kafka.bus import KafkaBus
from server.adapters.memory.broadcast import MemoryBroadcast
from server.adapters.nats.bus import NatsBus
from server.adapters.nats.link import Link
from server.adapters.postgres.bus import PostgresBus
from server.adapters.redis.broadcast import RedisBroadcast
from server.adapters.redis.bus import RedisBus
from server.adapters.topics.broadcast import TopicBroadcast
from server.adapters.topics.bus import TopicBus
from server.adapters.topics.topics import Topics
from server.domain.channels import ChannelName
from server.domain.errors import Unavailable
from server.domain.events import Event
from server.ports.broadcast import Broadcast, Hint, HintsLost, LinkRestored
from tests.contracts.redises import REDISES, redis_of
from tests.doubles.samples import event
from tests.harness.kafka import HINTS
from tests.harness.seal import SEAL

DEADLINE_S = 5.0

Open = Callable[[int], AbstractAsyncContextManager[Broadcast]]


class Ears:
    """The one listener of a broadcast."""

    def __init__(self, broadcast: Broadcast) -> None:
        self._hints = broadcast.listen()

    async def hint(self) -> Hint:
        """The next hint."""
        async with asyncio.timeout(DEADLINE_S):
            return await anext(self._hints)

    async def event(self) -> Event:
        """The next event."""
        while isinstance(hint := await self.hint(), LinkRestored | HintsLost):
            pass
        return hint


@asynccontextmanager
async def memory(limit: int) -> AsyncIterator[Broadcast]:
    """Within one process."""
    yield MemoryBroadcast(limit)


def over_topics(make: Callable[[], TopicBus]) -> Open:
    """Over a bus with a topic for each channel."""

    @asynccontextmanager
    async def opened(limit: int) -> AsyncIterator[Broadcast]:
        bus = make()
        broadcast = TopicBroadcast(Topics(bus, SEAL), limit)
        listening = asyncio.create_task(bus.run())
        try:
            async with asyncio.timeout(DEADLINE_S):
                await bus.linked.wait()
            yield broadcast
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)

    return opened


def over_nats(url: str) -> Open:
    """Open broadcasts that meet in NATS."""

    @asynccontextmanager
    async def opened(limit: int) -> AsyncIterator[Broadcast]:
        link = Link(url)
        broadcast = TopicBroadcast(Topics(NatsBus(link), SEAL), limit)
        async with link:
            yield broadcast

    return opened


def over_kafka(servers: str) -> Open:
    """Open broadcasts over a topic of Kafka."""

    @asynccontextmanager
    async def opened(limit: int) -> AsyncIterator[Broadcast]:
        bus = KafkaBus({"bootstrap.servers": servers}, HINTS)
        try:
            async with over_topics(lambda: bus)(limit) as broadcast:
                yield broadcast
        finally:
            await bus.aclose()

    return opened


@pytest.fixture(params=["memory", "postgres", "nats", "kafka", *REDISES])
def opened(request: pytest.FixtureRequest) -> Open:
    """Opens a broadcast of each kind, with a bound for the hints that wait."""
    if request.param == "memory":
        return memory
    if request.param == "postgres":
        return over_topics(partial(PostgresBus, request.getfixturevalue("postgres_server").url))
    if request.param == "nats":
        return over_nats(request.getfixturevalue("nats_server").url)
    if request.param == "kafka":
        return over_kafka(request.getfixturevalue("kafka_server").servers)
    url = redis_of(request).url

    @asynccontextmanager
    async def over_redis(limit: int) -> AsyncIterator[Broadcast]:
        bus = RedisBus(url)
        broadcast = RedisBroadcast(bus, SEAL, limit)
        listening = asyncio.create_task(bus.run())
        try:
            async with asyncio.timeout(DEADLINE_S):
                await bus.linked.wait()
            yield broadcast
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
            await bus.aclose()

    return over_redis


@pytest.fixture
async def broadcast(opened: Open) -> AsyncIterator[Broadcast]:
    """A broadcast without a bound that a test would meet."""
    async with opened(10_000) as opened_one:
        yield opened_one


@pytest.fixture
def other(channel: ChannelName) -> ChannelName:
    """A second channel of the test's own."""
    return ChannelName(f"{channel}:other")


async def test_1_what_is_published_after_subscribing_is_heard(broadcast: Broadcast, channel: ChannelName) -> None:
    """The publisher's own replica hears each event; events of one task in the order of publishing."""
    ears = Ears(broadcast)
    await broadcast.subscribe(channel)
    events = [event(offset, channel=channel) for offset in range(1, 301)]
    await asyncio.gather(*(broadcast.publish(one) for one in events))
    assert [await ears.event() for _ in events] == events


async def test_3_other_channels_are_not_heard(broadcast: Broadcast, channel: ChannelName, other: ChannelName) -> None:
    """A hint of a channel that was never subscribed, or is not any more, does not arrive."""
    ears = Ears(broadcast)
    await broadcast.subscribe(channel)
    await broadcast.publish(event(1, channel=other))
    await broadcast.publish(event(1, channel=channel))
    assert await ears.event() == event(1, channel=channel)
    await broadcast.subscribe(other)
    await broadcast.unsubscribe(channel)
    await broadcast.publish(event(2, channel=channel))
    await broadcast.publish(event(2, channel=other))
    assert await ears.event() == event(2, channel=other)


async def test_3_subscribing_twice_is_subscribing(broadcast: Broadcast, channel: ChannelName) -> None:
    """An event is heard once, and one `unsubscribe` ends it."""
    ears = Ears(broadcast)
    await asyncio.gather(*(broadcast.subscribe(channel) for _ in range(3)))
    for offset in (1, 2):
        await broadcast.publish(event(offset, channel=channel))
    assert [await ears.event(), await ears.event()] == [event(1, channel=channel), event(2, channel=channel)]


async def test_5_what_is_not_fetched_is_bounded(opened: Open, channel: ChannelName, other: ChannelName) -> None:
    """Over the bound a hint is dropped and counted. The listener is told of its channel alone; later hints come."""
    async with opened(10) as broadcast:
        await broadcast.subscribe(other)
        await broadcast.subscribe(channel)
        await broadcast.publish(event(1, channel=other))
        for offset in range(1, 16):
            await broadcast.publish(event(offset, channel=channel))
        for each in (other, channel):
            await broadcast.subscribe(each)  # confirmed behind the hints: they have arrived by now
        ears, heard = Ears(broadcast), list[Hint]()
        while not heard or not isinstance(heard[-1], HintsLost):
            heard.append(await ears.hint())
        assert heard[-1] == HintsLost(frozenset({channel}))
        assert 9 <= len([hint for hint in heard if not isinstance(hint, LinkRestored | HintsLost)]) <= 10
        assert broadcast.dropped >= 6
        await broadcast.publish(event(16, channel=channel))
        assert await ears.event() == event(16, channel=channel)


async def test_6_the_last_call_wins(broadcast: Broadcast, channel: ChannelName, other: ChannelName) -> None:
    """A `subscribe` called after an `unsubscribe` that has not returned leaves the channel subscribed, and the other
    way round. An overtaken call returns too."""
    ears = Ears(broadcast)
    async with asyncio.timeout(DEADLINE_S):
        for _ in range(20):
            await asyncio.gather(
                broadcast.subscribe(channel), broadcast.unsubscribe(channel), broadcast.subscribe(channel)
            )
            await broadcast.publish(event(1, channel=channel))
            assert await ears.event() == event(1, channel=channel)
            await broadcast.subscribe(other)
            results = await asyncio.gather(
                broadcast.unsubscribe(channel),
                broadcast.subscribe(channel),
                broadcast.unsubscribe(channel),
                return_exceptions=True,
            )
            assert all(result is None or isinstance(result, Unavailable) for result in results)
            await broadcast.publish(event(2, channel=channel))
            await broadcast.publish(event(3, channel=other))
            assert await ears.event() == event(3, channel=other)
