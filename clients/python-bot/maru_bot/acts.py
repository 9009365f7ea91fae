"""Commands about people: reactions, presence, typing, reading marks, inboxes, and events of applications."""

import asyncio
import uuid
from collections.abc import Callable
from typing import Any, TypeVar

from maru_bot import people
from maru_bot.errors import transient
from maru_bot.events import Json
from maru_bot.payload import present
from maru_bot.people import Inbox, Mark, ReadBy, Records, Roster, Settled
from maru_bot.session import Session

_T = TypeVar("_T")


class Acts:
    """Each command is tried once: after a retryable `MaruError`, call again if you like; doing it twice is safe."""

    def __init__(self, session: Session, ack: float) -> None:
        self._session = session
        self._ack = ack

    async def react(self, channel: str, id: str, emoji: str) -> Settled:
        """React to a message with an emoji."""
        return await self.command("reaction:add", {"channel": channel, "id": id, "emoji": emoji}, people.settled)

    async def unreact(self, channel: str, id: str, emoji: str) -> Settled:
        """Take a reaction back."""
        return await self.command("reaction:remove", {"channel": channel, "id": id, "emoji": emoji}, people.settled)

    async def presence(self, channel: str) -> Roster:
        """Read the users in a channel that the bot has joined."""
        return await self.command("presence:read", {"channel": channel}, people.roster)

    async def typing(self, channel: str, *, typing: bool = True) -> None:
        """Say that the bot types in a joined channel, or has stopped. Members take it to be over after 8 s."""
        await self.command("typing:start" if typing else "typing:stop", {"channel": channel}, lambda _: None)

    async def mark_read(self, channel: str, offset: int) -> Mark:
        """Move the bot's reading mark, which never moves back, in a joined channel. Sending moves it, too."""
        return await self.command("read:mark", {"channel": channel, "offset": offset}, people.mark)

    async def receipts(self, channel: str) -> tuple[ReadBy, ...]:
        """Read how far others have read: at most a hundred, the furthest first."""
        return await self.command("receipts:read", {"channel": channel}, people.receipts)

    async def publish(
        self, channel: str, name: str, data: Any = None, *, key: str | None = None, log: bool = True
    ) -> Settled:
        """Publish an event of an application. With `log` it is kept, and a repeated call with the same `key` is the
        same event; without, it reaches the members that are connected, or is lost."""
        body = {"channel": channel, "name": name, "data": data}
        body |= {"key": key or str(uuid.uuid4())} if log else {"log": False}
        return await self.command("event:publish", body, people.settled, nulls=True)

    async def records(
        self,
        channel: str,
        name: str | None = None,
        *,
        before: int | None = None,
        after: int | None = None,
        limit: int | None = None,
    ) -> Records:
        """Read kept events of applications, of one name or of all; `before` and `after` are offsets, exclusive."""
        body = {"channel": channel, "name": name, "before": before, "after": after, "limit": limit}
        return await self.command("events:read", body, people.records)

    async def follow(self, channel: str) -> None:
        """Have a channel in the inbox."""
        await self.command("channel:follow", {"channel": channel}, lambda _: None)

    async def unfollow(self, channel: str) -> None:
        """Have it there no longer."""
        await self.command("channel:unfollow", {"channel": channel}, lambda _: None)

    async def inbox(self, limit: int = 50, *, before: str | None = None) -> Inbox:
        """Read the channels that the bot follows, up to 500; `before` is the `next` of the page before."""
        return await self.command("inbox:read", {"limit": limit, "before": before}, people.inbox)

    async def command(self, name: str, payload: Json, answered: Callable[[Json], _T], *, nulls: bool = False) -> _T:
        """Send a command once there is a connection. Fields that are None are left out, unless `nulls`."""
        try:
            async with asyncio.timeout(self._ack):
                connection = await self._session.connected()
        except TimeoutError:
            raise transient("offline", f"not connected, {name} was not sent") from None
        return await connection.command(name, payload if nulls else present(payload), answered)
