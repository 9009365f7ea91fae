"""The bot's other faces: several channels in one place, signals, timeouts, and programs without asyncio."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import pytest

from maru_bot.bot import MaruBot
from maru_bot.errors import MaruError
from maru_bot.events import Author, Created, Event, Published, Reacted, Reaction
from maru_bot.people import Emitted, Entered, Gone, Read, Typing
from maru_bot.sync import SyncBot
from tests.clients.bot import DEADLINE_S, HASTE, ann
from tests.e2e.python_bot.scripted import AT, Json, ScriptedServer, created
from tests.harness.server import ServerProcess
from tests.harness.tokens import token

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_several_channels_in_one_place(server: ServerProcess, name: str) -> None:
    """Each event names its channel; a channel that was left is left out, and the last one ends the iterator."""
    names = [f"{name}:{number}" for number in range(3)]
    async with ann(server.url) as bot, MaruBot(server.url, token("ben"), patience=HASTE) as ben:
        rooms = bot.channels(names)
        await asyncio.gather(*(bot.joined(each) for each in names))
        for number in range(9):
            await ben.send(names[number % 3], str(number))
        async with asyncio.timeout(DEADLINE_S):
            events = [await anext(rooms) for _ in range(9)]
            for channel in names:
                heard = [event.text for event in events if isinstance(event, Created) and event.channel == channel]
                assert heard == [str(number) for number in range(9) if names[number % 3] == channel]
            await bot.leave(names[0])
            await ben.send(names[1], "after")
            assert (await anext(rooms)).channel == names[1]
            await bot.leave(names[1])
            await bot.leave(names[2])
            assert [event async for event in rooms] == []


async def test_a_refused_channel_is_told_and_the_others_go_on(server: ServerProcess, name: str) -> None:
    """The error comes once; what the other channels have comes when the reader asks again."""
    async with ann(server.url) as bot:
        rooms = bot.channels([name, "secret:1"])
        await bot.joined(name)
        with pytest.raises(MaruError) as refused:
            await asyncio.wait_for(anext(rooms), DEADLINE_S)
        assert refused.value.code == "permission_denied"
        await bot.send(name, "still here")
        event = await asyncio.wait_for(anext(rooms), DEADLINE_S)
        assert isinstance(event, Created)
        assert event.text == "still here"


async def test_a_send_gives_up_in_time() -> None:
    """It says that the message may be in the log: the same key finds out."""
    scripted = ScriptedServer()
    scripted.script = lambda *_: None
    async with scripted.open() as url, MaruBot(url, "token", patience=HASTE) as bot:
        with pytest.raises(MaruError) as gave_up:
            await bot.send("room:1", "hello", mentions=["ben"], timeout=0.05)
        assert (gave_up.value.code, gave_up.value.retryable) == ("timeout", True)
        [sent] = [body for command, body in scripted.commands if command == "message:send"]
        assert sent["mentions"] == ["ben"]


async def test_log_events_beside_messages_and_signals() -> None:
    """Reactions and events of applications are read in order with the messages; signals have an iterator of their own,
    and a slow reader of them loses the oldest."""
    scripted = ScriptedServer()
    async with scripted.open() as url, MaruBot(url, "token", patience=HASTE) as bot:
        signals, room = bot.signals(limit=6), bot.channel("room:1", presence=True)
        with pytest.raises(ValueError, match="read already"):
            bot.signals()
        await room.joined()
        assert scripted.commands[0] == ("channel:join", {"channel": "room:1", "presence": True})
        place = {"channel": "room:1", "epoch": "e1", "at": AT}
        reactions = {"👍": {"count": 12, "users": ["ann", "ben"]}}
        for said, body in _said(place, reactions):
            await scripted.say(said, body)
        async with asyncio.timeout(DEADLINE_S):
            events: list[Event] = [await anext(room) for _ in range(3)]
            heard = [await anext(signals) for _ in range(6)]
        message, reacted, published = events
        assert isinstance(message, Created)
        assert (message.message.mentions, message.message.reactions) == (("ann",), {"+1": Reaction(1, ("ben",))})
        assert isinstance(reacted, Reacted)
        assert (reacted.id, reacted.reactions) == ("m1", {"👍": Reaction(12, ("ann", "ben"))})
        assert isinstance(published, Published)
        assert (published.name, published.author, published.data) == ("order.paid", Author("shop", None), [1])
        assert heard == [
            Read("room:1", "ben", 3),
            Entered("room:1", "cyd", None, 3, "p1", 8),
            Gone("room:1", "cyd", None, 2, "p1", 9),
            Emitted("room:1", "cursor", Author("ben", "Ben"), {"x": 1}),
            Typing("room:1", "ben", typing=False, expires_in=8.0),
            Typing("room:1", "ben", typing=True, expires_in=8.0),
        ]
        assert signals.dropped == 1
    assert [each async for each in signals] == []


def _said(place: Json, reactions: Json) -> list[tuple[str, Json]]:
    """Three log events, and seven signals before the last of them."""
    ben = {"id": "ben", "name": "Ben"}
    typing = {"channel": "room:1", "user": "ben", "expires_in_ms": 8000}
    presence = {"channel": "room:1", "user": "cyd", "name": None, "epoch": "p1"}
    first: Json = {"mentions": ["ann"], "reactions": {"+1": {"count": 1, "users": ["ben"]}}}
    shop = {"id": "shop", "name": None}
    return [
        ("message:created", created("room:1", 1, **first)),
        ("reaction:changed", place | {"offset": 2, "id": "m1", "reactions": reactions}),
        ("typing:changed", typing | {"typing": True}),
        ("read:updated", {"channel": "room:1", "user": "ben", "offset": 3}),
        ("presence:joined", presence | {"count": 3, "version": 8}),
        ("presence:left", presence | {"count": 2, "version": 9}),
        ("event:published", {"channel": "room:1", "name": "cursor", "author": ben, "data": {"x": 1}}),
        ("typing:changed", typing | {"typing": False}),
        ("typing:changed", typing | {"typing": True}),
        ("event:published", place | {"offset": 3, "name": "order.paid", "author": shop, "data": [1], "key": "k"}),
    ]


async def test_a_program_without_asyncio(server: ServerProcess, name: str) -> None:
    """A thread sends, reads what it sent and an answer, and leaves; errors are those of the bot."""

    def talk() -> list[str]:
        with SyncBot(server.url, lambda: token("ann"), patience=HASTE) as bot:
            reading = bot.read(name)
            bot.call(lambda each: each.joined(name))
            bot.send(name, "one", key="one")
            bot.send(name, "two")
            texts = [event.text for event in islice(reading, 2) if isinstance(event, Created)]
            reading.close()
            with pytest.raises(MaruError) as refused:
                bot.send("secret", "x")
            assert refused.value.code == "permission_denied"
            assert len(bot.history(name).messages) == 2
            return texts

    def read_too_long() -> None:
        with SyncBot(server.url, lambda: token("ann"), patience=HASTE) as bot:
            reading = bot.read(name, history=2)
            next(reading)
        reading.close()  # the bot has left already

    with ThreadPoolExecutor(1) as thread:
        assert await asyncio.get_running_loop().run_in_executor(thread, talk) == ["one", "two"]
        await asyncio.get_running_loop().run_in_executor(thread, read_too_long)
        with pytest.raises(RuntimeError, match="enter the bot first"):
            SyncBot(server.url, "token").send(name, "x")


async def test_a_server_that_is_away_is_told_without_asyncio() -> None:
    """Entering raises as the bot does, and leaves no thread behind."""

    def enter() -> str:
        with pytest.raises(MaruError) as away, SyncBot("http://127.0.0.1:9", "token", first_connect=0.2):
            raise AssertionError("there is no server")
        return away.value.code

    with ThreadPoolExecutor(1) as thread:
        assert await asyncio.get_running_loop().run_in_executor(thread, enter) == "offline"
