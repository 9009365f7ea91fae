"""What `server.ports.broadcast` promises, held against each adapter. Tests are named after the promises' numbers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count

import pytest

from server.adapters.memory.broadcast import WAITING_LIMIT, MemoryBroadcast
from server.domain.channels import ChannelName
from server.domain.messages import Event, MessageDeleted, MessageEdited, Position, Revision, created, revised
from server.ports.broadcast import Broadcast, LinkRestored
from tests.doubles.samples import event, post, some_id, stretch

PATIENCE_S = 5.0
"""How long a test waits for a hint that has to come."""

_numbers = count(1)


@asynccontextmanager
async def memory() -> AsyncIterator[Broadcast]:
    """The broadcast of a single process."""
    yield MemoryBroadcast()


@pytest.fixture(params=[memory])
async def broadcast(request: pytest.FixtureRequest) -> AsyncIterator[Broadcast]:
    """One replica's broadcast, by each adapter."""
    async with request.param() as adapter:
        yield adapter


@pytest.fixture
def room() -> ChannelName:
    """A channel of the test's own."""
    return ChannelName(f"room:{next(_numbers)}")


@pytest.fixture
def elsewhere() -> ChannelName:
    """Another one."""
    return ChannelName(f"room:{next(_numbers)}")


async def upto(broadcast: Broadcast, last: Event) -> list[Event]:
    """The hints that are heard up to the given one, which has to come."""
    heard: list[Event] = []
    async with asyncio.timeout(PATIENCE_S):
        async for hint in broadcast.listen():
            if isinstance(hint, LinkRestored):
                continue
            heard.append(hint)
            if hint == last:
                break
    return heard


async def test_1_what_is_published_after_subscribing_is_heard(broadcast: Broadcast, room: ChannelName) -> None:
    """All of it, by the replica that published it too, whether it listens already or begins to later."""
    await broadcast.subscribe(room)
    first, second = stretch(0, 5, channel=room), stretch(5, 9, channel=room)
    for hint in first:
        await broadcast.publish(hint)
    assert {*await upto(broadcast, first[-1])} == {*first}
    listening = asyncio.create_task(upto(broadcast, second[-1]))
    await asyncio.sleep(0)
    for hint in second:
        await broadcast.publish(hint)
    assert {*await listening} == {*second}


async def test_1_each_kind_of_event_arrives_whole(broadcast: Broadcast, room: ChannelName) -> None:
    """A hint is the event itself: a subscriber that misses nothing needs no log."""
    draft = post(1, room, key="k", text="안녕 🙂 \u2028 \x00")
    creation = created(draft, Position("e", 1))
    edited = revised(creation.message, Revision(room, draft.id, "ho", {"a": [1, None]}, keep_data=False, at=7))
    events: list[Event] = [
        creation,
        MessageEdited(room, "e", 2, 7, edited),
        MessageDeleted(room, "e", 3, 8, some_id(1)),
    ]
    await broadcast.subscribe(room)
    for hint in events:
        await broadcast.publish(hint)
    heard = await upto(broadcast, events[-1])
    assert sorted(heard, key=lambda hint: hint.offset) == events


async def test_3_only_subscribed_channels_are_heard(
    broadcast: Broadcast, room: ChannelName, elsewhere: ChannelName
) -> None:
    """A replica does not receive what it does not host, before and after it does."""
    await broadcast.subscribe(room)
    await broadcast.publish(event(1, channel=elsewhere))
    await broadcast.subscribe(elsewhere)
    await broadcast.unsubscribe(elsewhere)
    await broadcast.publish(event(2, channel=elsewhere))
    last = event(1, channel=room)
    await broadcast.publish(last)
    assert await upto(broadcast, last) == [last]


async def test_3_calls_may_be_repeated(broadcast: Broadcast, room: ChannelName, elsewhere: ChannelName) -> None:
    """Subscribing twice is hearing once, one unsubscribe ends it, and unsubscribing from nothing is no error."""
    await broadcast.subscribe(elsewhere)
    await broadcast.subscribe(room)
    await broadcast.subscribe(room)
    hint = event(1, channel=room)
    await broadcast.publish(hint)
    assert await upto(broadcast, hint) == [hint]
    await broadcast.unsubscribe(room)
    await broadcast.unsubscribe(room)
    await broadcast.publish(event(2, channel=room))
    last = event(1, channel=elsewhere)
    await broadcast.publish(last)
    assert await upto(broadcast, last) == [last]


async def test_5_a_listener_that_does_not_keep_up_is_told(broadcast: Broadcast, room: ChannelName) -> None:
    """Of more hints than may wait some are dropped, then `LinkRestored` comes; the hints after it arrive, and with what
    was dropped the log can tell."""
    await broadcast.subscribe(room)
    written = stretch(0, WAITING_LIMIT + 100, channel=room)
    for hint in written:
        await broadcast.publish(hint)
    heard: list[Event | LinkRestored] = []
    async with asyncio.timeout(PATIENCE_S):
        async for heard_one in broadcast.listen():
            heard.append(heard_one)
            if heard_one == written[-1]:
                break
    assert len(heard) <= WAITING_LIMIT + 1
    restored = heard.index(LinkRestored())
    after = heard[restored + 1 :]
    assert after == [*written[-len(after) :]]


async def test_6_the_last_call_wins(broadcast: Broadcast, room: ChannelName) -> None:
    """A channel that is wanted again while it is being let go stays subscribed, however often that happens."""
    await broadcast.subscribe(room)
    for _ in range(10):
        await asyncio.gather(broadcast.unsubscribe(room), broadcast.subscribe(room))
    hint = event(1, channel=room)
    await broadcast.publish(hint)
    assert await upto(broadcast, hint) == [hint]


async def test_6_the_last_call_wins_the_other_way_round(
    broadcast: Broadcast, room: ChannelName, elsewhere: ChannelName
) -> None:
    """A channel that is let go while it is being subscribed is not heard."""
    await broadcast.subscribe(elsewhere)
    await asyncio.gather(broadcast.subscribe(room), broadcast.unsubscribe(room))
    await broadcast.publish(event(1, channel=room))
    last = event(1, channel=elsewhere)
    await broadcast.publish(last)
    assert await upto(broadcast, last) == [last]
