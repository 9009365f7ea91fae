"""Bots of clients/python-bot as test subjects: made in a hurry, and read with a deadline."""

import asyncio
import re

from maru_bot.bot import MaruBot
from maru_bot.channel import Channel
from maru_bot.errors import Backoff
from maru_bot.events import Created, Event
from maru_bot.session import Patience
from tests.harness.tokens import token

DEADLINE_S = 30.0

HASTE = Patience(ack=5.0, connect=5.0, backoff=Backoff(0.05, 0.3))

JWT = re.compile("eyJ[A-Za-z0-9_-]{10}")
"""What every token looks like."""


def ann(url: str, *, buffer: int = 1_000) -> MaruBot:
    """A bot that hurries."""
    return MaruBot(url, lambda: token("ann"), patience=HASTE, buffer=buffer)


async def enter(bot: MaruBot, name: str) -> Channel:
    """Join a channel, and wait until what is sent from now on will be heard."""
    room = bot.channel(name)
    await room.joined()
    return room


async def take(room: Channel, count: int) -> list[Event]:
    """The next events of a channel."""
    async with asyncio.timeout(DEADLINE_S):
        return [await anext(room) for _ in range(count)]


async def settled(room: Channel, last: str) -> list[str]:
    """The texts of a channel up to the given one; asserts that offsets are dense and all events messages."""
    texts: list[str] = []
    offset = 0
    async with asyncio.timeout(DEADLINE_S):
        async for event in room:
            assert isinstance(event, Created)
            assert event.position.offset == offset + 1 or not texts
            offset = event.position.offset
            texts.append(event.text)
            if event.text == last:
                break
    return texts
