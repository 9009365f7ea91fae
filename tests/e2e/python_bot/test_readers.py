"""The Python bot's readers: each event once, and no more of them waiting than was agreed."""

import pytest

from maru_bot.bot import MaruBot
from maru_bot.channel import Channel
from maru_bot.errors import Backoff
from maru_bot.events import Created, Deleted, Position, Reset
from tests.clients.account import Outgoing
from tests.clients.bot import ann, enter, settled, take
from tests.clients.python import PyClient
from tests.harness.server import ServerProcess
from tests.harness.tokens import token

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_an_event_comes_twice() -> None:
    """What is not newer than the last event is dropped, live or in a reply."""
    room = Channel("room:one", None, None, 10, Backoff())
    at = "2026-11-22T12:00:00.000Z"
    events = [
        {
            "event": "message:deleted",
            "channel": "room:one",
            "epoch": "e",
            "offset": n,
            "at": at,
            "message": {"id": str(n)},
        }
        for n in range(1, 5)
    ]
    room.adopt({"epoch": "e", "offset": 2, "recovered": None, "events": events[:2]}, None)
    for event in (events[1], events[2], events[2], events[0]):
        room.receive("message:deleted", event)
    room.adopt({"epoch": "e", "offset": 4, "recovered": True, "events": events}, Position("e", 0))
    assert [event.id for event in await take(room, 4) if isinstance(event, Deleted)] == ["1", "2", "3", "4"]
    assert room.waiting == 0


async def backlog(server: ServerProcess, bot: MaruBot, name: str, count: int, limit: int) -> Channel:
    """A channel with `count` messages and an "end", whose reader has taken none of them."""
    room = await enter(bot, name)
    async with PyClient(server.url, token("paula")) as crowd:
        await crowd.send_all([Outgoing(name, str(n), str(n)) for n in range(count)], in_flight=64)
    await bot.send(name, "end")
    assert room.waiting == limit
    return room


async def test_a_slow_reader(mortal: ServerProcess, name: str) -> None:
    """Behind a slow reader a bounded number of events waits, and it gets the rest when it has taken them."""
    limit, count = 25, 300
    async with ann(mortal.url, buffer=limit) as bot:
        room = await backlog(mortal, bot, name, count, limit)
        assert await settled(room, "end") == [*map(str, range(count)), "end"]
        assert room.waiting == 0
        again = [str(count + n) for n in range(2 * limit)]
        for text in again:
            await bot.send(name, text)
        await mortal.kill()
        await mortal.start()
        await bot.send(name, "restarted")
        assert room.waiting == limit
        assert await settled(room, "restarted") == [*again, "restarted"]


async def test_a_reader_that_is_too_slow(server: ServerProcess, name: str) -> None:
    """A reader that is more than a replay of 1,000 events behind gets a reset in their place, then goes on."""
    limit, count = 25, 1_200
    async with ann(server.url, buffer=limit) as bot:
        room = await backlog(server, bot, name, count, limit)
        assert await settled(room, str(limit - 1)) == [str(n) for n in range(limit)]
        (reset,) = await take(room, 1)
        assert isinstance(reset, Reset)
        assert (reset.reason, reset.position.offset) == ("too_far_behind", count + 1)
        page = await bot.history(name, after=limit, limit=100)
        assert [message.offset for message in page.messages] == list(range(limit + 1, limit + 101))
        await bot.send(name, "on")
        (event,) = await take(room, 1)
        assert isinstance(event, Created)
        assert event.text == "on"
