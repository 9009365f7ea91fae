"""The Python bot: an answer is for one channel object alone, a leave is done, and no payload is tried for ever."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from maru_bot.bot import MaruBot
from maru_bot.channel import Channel
from maru_bot.errors import Backoff, MaruError
from maru_bot.events import Created, Deleted, Edited, Event, Position, Reset, Tombstone
from maru_bot.outbox import Age
from maru_bot.parsing import log_event, page, receipt
from tests.clients.bot import HASTE, enter, take
from tests.e2e.python_bot.scripted import AT, UNAVAILABLE, Json, ScriptedServer, created, reply

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROOM = "room:one"


@pytest.fixture
def server() -> ScriptedServer:
    """A server that grants everything."""
    return ScriptedServer()


@pytest_asyncio.fixture(loop_scope="module")
async def bot(server: ScriptedServer) -> AsyncIterator[MaruBot]:
    """A bot that is connected to it."""
    async with server.open() as url, MaruBot(url + "//", "t", patience=HASTE) as bot:
        yield bot


def offsets(events: list[Event]) -> list[int]:
    """The offsets of log events."""
    return [event.position.offset for event in events]


async def test_a_resume_answers_its_own_channel_alone(server: ScriptedServer, bot: MaruBot) -> None:
    """A channel that was left and opened again after CONNECT is not given the answer to the old position."""
    server.script = lambda *_: reply(ROOM, 10, [], recovered=None)
    room = await enter(bot, ROOM)
    rooms: list[Channel] = []

    async def connect(auth: Json) -> None:
        await bot.leave(room)
        rooms.append(bot.channel(ROOM, since=Position("e1", 4)))
        await server.say("channel:resumed", reply(ROOM, 11, [created(ROOM, 11)], recovered=True))

    server.connect = connect
    server.script = lambda *_: reply(ROOM, 11, [created(ROOM, n) for n in range(5, 12)], recovered=True)
    await server.drop()
    await server.reached(lambda: server.count("channel:join") == 2)
    assert server.resumes[1] == {ROOM: {"epoch": "e1", "offset": 10, "presence": False}}
    assert offsets(await take(rooms[0], 7)) == list(range(5, 12))


def channel(at: int | None = None) -> Channel:
    """A channel that is joined, at that offset."""
    room = Channel(ROOM, None, None, 10, Backoff())
    if at is not None:
        room.adopt(reply(ROOM, at, [], recovered=None), None)
    return room


async def test_an_answer_that_does_not_follow_is_not_taken() -> None:
    """Whatever is named: the answer is taken if the channel has got that far, in that log."""
    for since, taken in ((Position("e1", 3), True), (Position("e1", 2), True), (Position("e1", 4), False)):
        room = channel(at=3)
        room.lost()
        room.adopt(reply(ROOM, 6, [created(ROOM, 6)], recovered=True), since)
        assert (room.position == Position("e1", 6)) is taken
        assert room.waiting == taken
    for recovered, epoch in ((True, "e2"), (False, "e1")):
        room = channel(at=3)
        room.lost()
        room.adopt(reply(ROOM, 6, [], recovered=recovered, epoch=epoch), Position(epoch, 2))
        assert (room.position, room.waiting) == (Position("e1", 3), 0)


async def test_a_server_that_can_not_heal_a_live_channel() -> None:
    """`channel:resumed` in the middle of a connection is a reset, and events go on from there."""
    room = channel(at=3)
    room.restart(reply(ROOM, 2_000, [], recovered=False))
    room.receive("message:created", created(ROOM, 2_001))
    reset, event = await take(room, 2)
    assert isinstance(reset, Reset)
    assert (reset.reason, reset.position) == ("too_far_behind", Position("e1", 2_000))
    assert event.position.offset == 2_001


async def test_the_notice_reaches_the_channel(server: ScriptedServer, bot: MaruBot) -> None:
    """The same over a connection."""
    room = await enter(bot, ROOM)
    await server.say("channel:resumed", reply(ROOM, 2_000, [], recovered=False))
    (reset,) = await take(room, 1)
    assert isinstance(reset, Reset)


async def test_a_leave_is_repeated_until_it_is_done(server: ScriptedServer, bot: MaruBot) -> None:
    """Also if the caller does not wait for it."""
    room = await enter(bot, ROOM)
    server.script = lambda *_: UNAVAILABLE if server.count("channel:leave") < 3 else {}
    leaving = asyncio.create_task(bot.leave(room))
    await server.reached(lambda: server.count("channel:leave") == 1)
    leaving.cancel()
    await server.reached(lambda: server.count("channel:leave") == 3)


async def test_a_channel_left_before_the_session_is_ready(server: ScriptedServer, bot: MaruBot) -> None:
    """The server has resumed the channel, so it is told to leave it."""
    room = await enter(bot, ROOM)

    async def connect(auth: Json) -> None:
        await server.say("channel:resumed", reply(ROOM, 1, [created(ROOM, 1)], recovered=True))
        await take(room, 1)
        await bot.leave(room)

    server.connect = connect
    server.script = lambda *_: UNAVAILABLE if server.count("channel:leave") < 2 else {}
    await server.drop()
    await server.reached(lambda: server.count("channel:leave") == 2)


async def test_a_send_that_ends_connections(server: ScriptedServer, bot: MaruBot) -> None:
    """It fails at the third time that it is the first in flight; sends to other channels go on, and those behind it."""

    def script(name: str, body: Json) -> Any:
        if body["text"] == "poison":
            return ...
        return {"message": created(body["channel"], 1)["message"], "epoch": "e1", "offset": 1}

    server.script = script
    says = [("room:a", "good"), (ROOM, "poison"), (ROOM, "behind"), ("room:b", "good")]
    sending = [asyncio.create_task(bot.send(name, text)) for name, text in says]
    async with asyncio.timeout(20):
        outcomes = await asyncio.gather(*sending, return_exceptions=True)
    refused = outcomes.pop(1)
    assert isinstance(refused, MaruError)
    assert (refused.code, refused.retryable) == ("connection_ended", False)
    assert not any(isinstance(outcome, BaseException) for outcome in outcomes)
    tries = sum(body["text"] == "poison" for _, body in server.commands)
    assert 3 <= tries <= 4


async def test_a_lost_answer_is_no_poison(server: ScriptedServer, bot: MaruBot) -> None:
    """A send that the server answers between two losses is not failed."""

    def script(name: str, body: Json) -> Any:
        tries = server.count("message:send")
        if tries > 8:
            return {"message": created(ROOM, 1)["message"], "epoch": "e1", "offset": 1}
        return ... if tries % 2 else UNAVAILABLE

    server.script = script
    async with asyncio.timeout(20):
        assert (await bot.send(ROOM, "patient")).position.offset == 1


async def test_a_damaged_position(server: ScriptedServer, bot: MaruBot) -> None:
    """It fails its channel alone, also without a connection: CONNECT does not carry it."""
    odd: list[Any] = [None, "", "e" * 65, "\ud800", 7]
    damaged = [Position(epoch, 3) for epoch in odd] + [Position("e1", offset) for offset in (-1, 2**53)]
    for since in damaged:
        room = bot.channel(ROOM, since=since)
        for entering in (room.joined(), anext(room)):
            with pytest.raises(MaruError, match="bad_request"):
                await entering
    named = bot.channel("Not a name", since=Position("e1", 0))
    server.script = lambda *_: reply("Not a name", 0, [], recovered=True)
    await named.joined()
    await server.drop()
    await server.reached(lambda: len(server.resumes) == 2)
    assert server.resumes[1] == {}


async def test_a_token_that_is_none() -> None:
    """A value that the server would close the connection for is not sent."""
    tokens: list[Any] = [None, b"bytes", "\ud800", "x" * 16_385]
    for given in tokens:

        def get_token(given: Any = given) -> Any:
            return given

        with pytest.raises(MaruError, match="token_unavailable"):
            async with MaruBot("http://127.0.0.1:9", get_token, patience=HASTE):
                pass


async def test_a_channel_that_is_lost_at_a_later_session(server: ScriptedServer, bot: MaruBot) -> None:
    """A join that is refused after the channel was joined ends the iteration with the code, as a removal does."""
    room = await enter(bot, ROOM)
    server.script = lambda *_: {"code": "too_many_channels", "message": "no", "retryable": False}
    await server.drop()
    assert [event async for event in room] == []
    assert isinstance(room.error, MaruError)
    assert room.error.code == "too_many_channels"
    with pytest.raises(MaruError, match="too_many_channels"):
        await room.joined()


@pytest.mark.parametrize("ends", ["leave", "close"])
async def test_nothing_after_the_end(server: ScriptedServer, bot: MaruBot, ends: str) -> None:
    """After `leave` or `aclose`, events that waited are not given, and a join that was not done is no success."""
    room = await enter(bot, ROOM)
    server.script = lambda name, _: {} if name == "channel:leave" else None
    other = bot.channel("room:other")
    for n in (1, 2, 3):
        await server.say("message:created", created(ROOM, n))
    await take(room, 1)
    reading = asyncio.create_task(anext(other, None))
    joining = asyncio.create_task(other.joined())
    await server.reached(lambda: server.count("channel:join") == 2)
    if ends == "leave":
        await asyncio.gather(bot.leave(room), bot.leave(other))
    else:
        await bot.aclose()
    assert [event async for event in room] == []
    assert await reading is None
    with pytest.raises(MaruError, match="closed"):
        await joining
    assert room.receive("message:created", created(ROOM, 4)) is False
    room.adopt(reply(ROOM, 9, [created(ROOM, 9)], recovered=True), room.position)
    room.restart(reply(ROOM, 9, [], recovered=False))
    assert room.waiting == 0


async def test_a_deleted_message_in_every_place() -> None:
    """Replays of a deleted message, pages and repeated sends have no text; a moderator is named."""
    gone = {"id": "m1", "channel": ROOM, "deleted": True, "offset": 1}
    moderator = {"id": "mod", "name": "Mod"}
    place = {"channel": ROOM, "epoch": "e1", "offset": 1, "at": AT}
    for name in ("message:created", "message:edited", "message:deleted"):
        event = log_event(name, {**place, "message": gone})
        assert isinstance(event, Deleted)
        assert (event.id, event.by) == ("m1", None)
    deleted = log_event("message:deleted", {**place, "message": {**gone, "deleted_by": moderator}})
    edited = log_event("message:edited", created(ROOM, 1, edited_at=AT, edited_by=moderator))
    assert isinstance(deleted, Deleted)
    assert deleted.by is not None
    assert deleted.by.id == "mod"
    assert isinstance(edited, Edited)
    assert edited.message.edited_by == deleted.by
    assert receipt({"message": gone, "epoch": "e1", "offset": 1}).message == Tombstone("m1", ROOM, 1)
    read = page({"messages": [{**gone, "deleted_by": moderator}], "epoch": "e1", "offset": 3, "more": False})
    assert read.messages == (Tombstone("m1", ROOM, 1, deleted.by),)


async def test_a_replay_with_deleted_messages(server: ScriptedServer, bot: MaruBot) -> None:
    """A reader gets the places of a deleted message as deletions, and the bot goes on."""
    gone = {**created(ROOM, 1), "message": {"id": "m1", "channel": ROOM, "deleted": True, "offset": 1}}
    server.script = lambda *_: reply(ROOM, 2, [gone, created(ROOM, 2)], recovered=None)
    first, second = await take(bot.channel(ROOM, history=2), 2)
    assert isinstance(first, Deleted)
    assert isinstance(second, Created)


async def test_age_counts_the_clock_that_has_gone_further() -> None:
    """A laptop that sleeps stops the monotonic clock; a person can set the wall clock back."""
    monotonic, wall = [100.0], [1_000.0]
    age = Age(lambda: monotonic[0], lambda: wall[0])
    wall[0] += 90_000.0
    assert age() == 90_000.0
    wall[0] -= 180_000.0
    monotonic[0] += 5.0
    assert age() == 5.0
