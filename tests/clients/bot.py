"""Bots of clients/python-bot: in a hurry, read with a deadline; and as members of a crowd."""

import asyncio
import contextlib
import re
from typing import Self

from maru_bot.bot import MaruBot
from maru_bot.channel import Channel
from maru_bot.errors import Backoff
from maru_bot.events import Created, Event
from maru_bot.session import Patience
from tests.clients.witness import Witness
from tests.harness.tokens import token

DEADLINE_S = 30.0

HASTE = Patience(ack=5.0, connect=5.0, backoff=Backoff(0.05, 0.3))

JWT = re.compile("eyJ[A-Za-z0-9_-]{10}")
"""The beginning of every token."""


def ann(url: str, *, buffer: int = 1_000) -> MaruBot:
    """Make a bot that hurries."""
    return MaruBot(url, lambda: token("ann"), patience=HASTE, buffer=buffer)


async def enter(bot: MaruBot, name: str) -> Channel:
    """Join a channel; return when the bot will hear everything that is sent from now on."""
    room = bot.channel(name)
    await room.joined()
    return room


async def take(room: Channel, count: int) -> list[Event]:
    """Return the next events of a channel."""
    async with asyncio.timeout(DEADLINE_S):
        return [await anext(room) for _ in range(count)]


async def settled(room: Channel, last: str) -> list[str]:
    """Return the texts of a channel up to `last`; assert that offsets are dense and all events messages."""
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


class BotMember:
    """A bot that reads a channel, for crowds. Use as an async context manager."""

    def __init__(self, url: str, user: str, token: str, channel: str) -> None:
        self.witness = Witness(user, "bot", channel)
        self._bot = MaruBot(url, token)
        self._reading: asyncio.Task[None] | None = None
        self._session: str | None = None

    async def __aenter__(self) -> Self:
        """Connect and join; return when the bot will hear everything that is sent from now on."""
        await self._bot.__aenter__()
        self._note_session()
        channel = self._bot.channel(self.witness.channel)
        self._reading = asyncio.create_task(self._read(channel))
        await channel.joined()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Leave with a goodbye."""
        assert self._reading is not None
        self._reading.cancel()
        await asyncio.wait((self._reading,))
        await self._bot.aclose()

    async def send(self, key: str, text: str) -> int:
        """Send a message until it is acked; return its offset."""
        receipt = await self._bot.send(self.witness.channel, text, key=key)
        return receipt.position.offset

    async def _read(self, channel: Channel) -> None:
        async for event in channel:
            if isinstance(event, Created):
                self.witness.hear(event.position.offset, event.id, event.text)
            else:
                self.witness.fault(repr(event))
            self._note_session()
        self.witness.fault(f"the channel ended: {channel.error}")

    def _note_session(self) -> None:
        """Count an attempt to connect if the session is another than at the last event."""
        with contextlib.suppress(RuntimeError):
            session = self._bot.session["session"]
            if session != self._session:
                self._session = session
                self.witness.dials()
