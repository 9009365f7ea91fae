"""The bot among people, at a real server: reactions, presence, typing, marks, inboxes and events of applications."""

import asyncio
from collections.abc import Callable

import pytest

from maru_bot.bot import MaruBot
from maru_bot.errors import MaruError
from maru_bot.events import Created, Message, Published, Reacted, Reaction
from maru_bot.people import Emitted, Entered, Gone, Mark, Read, ReadBy, Signal, Typing
from maru_bot.signals import Signals
from tests.clients.bot import DEADLINE_S, HASTE, ann, enter, take
from tests.harness.server import ServerProcess
from tests.harness.tokens import token

pytestmark = pytest.mark.asyncio(loop_scope="module")

GRANTS = {"room:*": ["join", "send", "publish", "moderate"]}


def ben(url: str) -> MaruBot:
    """Make a bot that may do more than most."""
    return MaruBot(url, lambda: token("ben", GRANTS), patience=HASTE)


async def heard(signals: Signals, holds: Callable[[Signal], bool]) -> Signal:
    """Return the next signal for which something holds."""
    async with asyncio.timeout(DEADLINE_S):
        return await anext(each async for each in signals if holds(each))


async def test_reactions_and_mentions(server: ServerProcess, name: str) -> None:
    """A set for each emoji; twice is once; history has the same as the last event."""
    async with ann(server.url) as bot, ben(server.url) as other:
        room = await enter(bot, name)
        receipt = await other.send(name, "look, ann", mentions=["ann"])
        await other.react(name, receipt.message.id, "👍")
        first = await bot.react(name, receipt.message.id, "👍")
        again = await bot.react(name, receipt.message.id, "👍")
        assert (first.duplicate, again.duplicate, again.position) == (False, True, first.position)
        await other.unreact(name, receipt.message.id, "👍")
        created, *changes = await take(room, 4)
        assert isinstance(created, Created)
        assert created.message.mentions == ("ann",)
        states = [each.reactions for each in changes if isinstance(each, Reacted)]
        both = Reaction(2, ("ben", "ann"))
        assert states == [{"👍": Reaction(1, ("ben",))}, {"👍": both}, {"👍": Reaction(1, ("ann",))}]
        [message] = (await bot.history(name)).messages
        assert isinstance(message, Message)
        assert (message.reactions, message.mentions) == (states[-1], ("ann",))
        with pytest.raises(MaruError) as unknown:
            await bot.react(name, "01a20453-0000-7000-8000-000000000000", "👍")
        assert unknown.value.code == "not_found"


async def test_presence_and_typing(server: ServerProcess, name: str) -> None:
    """Who comes, types and goes is told to those that want to know."""
    async with ann(server.url) as bot:
        signals, room = bot.signals(), bot.channel(name, presence=True)
        await room.joined()
        async with ben(server.url) as other:
            theirs = await enter(other, name)
            entered = await heard(signals, lambda each: isinstance(each, Entered) and each.user == "ben")
            assert isinstance(entered, Entered)
            assert (entered.channel, entered.count) == (name, 2)
            roster = await bot.presence(name)
            assert ({member.user for member in roster.members}, roster.count) == ({"ann", "ben"}, 2)
            assert (roster.epoch, roster.version, roster.complete) == (entered.epoch, entered.version, True)
            await other.typing(name)
            assert await heard(signals, lambda each: isinstance(each, Typing)) == Typing(name, "ben", True, 8.0)
            await other.send(name, "done")
            assert await heard(signals, lambda each: isinstance(each, Typing)) == Typing(name, "ben", False, 8.0)
            await other.leave(theirs)
            gone = await heard(signals, lambda each: isinstance(each, Gone))
            assert isinstance(gone, Gone)
            assert (gone.user, gone.count, gone.version) == ("ben", 1, entered.version + 1)


async def test_marks_and_inbox(server: ServerProcess, name: str) -> None:
    """Reading moves the mark, on all devices of the user; the inbox counts what is left."""
    async with ann(server.url) as bot, ann(server.url) as phone, ben(server.url) as other:
        signals = phone.signals()
        for each in (bot, phone, other):
            await enter(each, name)
        await bot.follow(name)
        sent = [await other.send(name, text, mentions=["*"]) for text in ("one", "two", "three")]
        assert await bot.mark_read(name, sent[0].position.offset) == Mark(sent[0].position.offset, 2, 2)
        read = await heard(signals, lambda each: isinstance(each, Read) and each.user == "ann")
        assert read == Read(name, "ann", sent[0].position.offset)
        assert await bot.mark_read(name, 0) == Mark(sent[0].position.offset, 2, 2)
        inbox = await bot.inbox()
        [channel] = [each for each in inbox.channels if each.channel == name]
        assert channel.last is not None
        assert (channel.last.text, channel.mark) == ("three", Mark(sent[0].position.offset, 2, 2))
        assert ReadBy("ben", sent[2].position.offset) in await bot.receipts(name), "sending moves one's own mark"
        await bot.unfollow(name)
        assert name not in [each.channel for each in (await bot.inbox()).channels]


async def test_events_of_applications(server: ServerProcess, name: str) -> None:
    """Kept ones are read in order and once, others reach those that are there."""
    async with ann(server.url) as bot, ben(server.url) as other:
        signals, room = bot.signals(), await enter(bot, name)
        paid = await other.publish(name, "order.paid", {"order": 7}, key="paid-7")
        again = await other.publish(name, "order.paid", {"order": 7}, key="paid-7")
        assert (again.position, again.duplicate) == (paid.position, True)
        handed_on = await other.publish(name, "cursor", [1, None], log=False)
        assert handed_on.position is None
        emitted = await heard(signals, lambda each: isinstance(each, Emitted))
        assert isinstance(emitted, Emitted)
        assert (emitted.name, emitted.author.id, emitted.data) == ("cursor", "ben", [1, None])
        [event] = await take(room, 1)
        assert isinstance(event, Published)
        assert (event.name, event.data, event.key) == ("order.paid", {"order": 7}, "paid-7")
        records = await bot.records(name, "order.paid")
        assert (records.events, records.more) == ((event,), False)
