"""A crowd of our Python bots."""

import asyncio
import contextlib

from maru_bot.bot import MaruBot
from maru_bot.channel import Channel
from maru_bot.events import Created, Json
from tests.harness.crowd_program import serve
from tests.harness.witness import Witness


class BotMember:
    """One bot that reads its channel."""

    def __init__(self, url: str, wanted: Json) -> None:
        self.witness = Witness(wanted["user"], "bot", wanted["channel"])
        self._bot = MaruBot(url, wanted["token"])
        self._reading: asyncio.Task[None] | None = None
        self._session: str | None = None

    async def enter(self) -> None:
        """Connect, join and read."""
        await self._bot.__aenter__()
        self._seen()
        channel = self._bot.channel(self.witness.channel)
        self._reading = asyncio.create_task(self._read(channel))
        await channel.joined()

    async def send(self, key: str, text: str) -> int:
        """The bot tries until it is acked."""
        receipt = await self._bot.send(self.witness.channel, text, key=key)
        return receipt.position.offset

    async def leave(self) -> None:
        """Say goodbye."""
        assert self._reading is not None
        self._reading.cancel()
        await asyncio.wait((self._reading,))
        await self._bot.aclose()

    async def _read(self, channel: Channel) -> None:
        async for event in channel:
            if isinstance(event, Created):
                self.witness.hear(event.position.offset, event.id, event.text)
            else:
                self.witness.fault(repr(event))
            self._seen()
        self.witness.fault(f"the channel ended: {channel.error}")

    def _seen(self) -> None:
        """A new session tells of a new connection, at its first event."""
        with contextlib.suppress(RuntimeError):
            session = self._bot.session["session"]
            if session != self._session:
                self._session = session
                self.witness.dials()


if __name__ == "__main__":
    serve(BotMember)
