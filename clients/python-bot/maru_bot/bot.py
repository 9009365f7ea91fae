"""`MaruBot`: a client that stays connected, reads channels without a hole and sends without a double."""

import asyncio
import uuid
from collections.abc import Callable
from types import TracebackType
from typing import Self, TypeVar

from maru_bot.channel import Channel
from maru_bot.errors import MaruError, transient
from maru_bot.events import Json, Page, Position, Receipt, page, position, receipt
from maru_bot.outbox import Outbox
from maru_bot.session import Patience, Session
from maru_bot.tokens import GetToken

_T = TypeVar("_T")


class MaruBot:
    """Use as an async context manager: entering connects, leaving says goodbye and ends every iterator.

    `token` is a token, or a function (also async) that gives a token valid now; the function is called again when the
    token is about to expire. Entering waits `first_connect` seconds for the server, then raises. After that the bot
    reconnects for ever, and stops only for an error that time can't heal: iterators and sends raise that error.
    `outbox` bounds the sends that wait for the server, `buffer` the events that wait for each channel's reader.
    """

    def __init__(
        self,
        url: str,
        token: GetToken | str,
        *,
        first_connect: float = 30.0,
        patience: Patience | None = None,
        outbox: int = 500,
        buffer: int = 1_000,
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise ValueError(f"expected the server's origin such as https://chat.example.com, got {url!r}")
        self._url = url = url.rstrip("/")
        self._first_connect = first_connect
        self._patience = patience or Patience()
        self._session = Session(url, token, self._patience)
        self._outbox = Outbox(self._session, self._patience.backoff, outbox)
        self._buffer = buffer

    async def __aenter__(self) -> Self:
        self._session.start()
        try:
            async with asyncio.timeout(self._first_connect):
                await self._session.connected()
        except TimeoutError:
            await self.aclose()
            last = self._session.last_error
            raise transient("offline", f"no session at {self._url} within {self._first_connect} s ({last})") from last
        except BaseException:
            await self.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End the session: iterators end, unanswered sends raise `closed`. Raises a fault of the bot itself."""
        await self._session.aclose()

    @property
    def session(self) -> Json:
        """The last `session:ready`: `user`, `expires_at`, `limits`, ..."""
        if self._session.ready is None:
            raise RuntimeError("enter the bot first: async with MaruBot(...) as bot")
        return self._session.ready

    @property
    def user(self) -> str:
        """The bot's user id, as the server sees it."""
        return str(self.session["user"])

    def channel(self, name: str, *, history: int | None = None, since: Position | None = None) -> Channel:
        """Join a channel, and stay in it: `async for event in bot.channel(...)`.

        With `since`, the events after that position come first; else the last `history` (0..100) events. A `since`
        that is no position fails this channel alone: iteration raises `bad_request`.
        """
        known = self._session.channels.get(name)
        if known is not None and not known.closed:
            raise ValueError(f"{name} is open already: use that iterator, or leave it first")
        channel = Channel(name, since, history, self._buffer, self._patience.backoff)
        if since is not None and not since.valid:
            channel.close(MaruError("bad_request", f"since is no position of {name}"), fatal=True)
        else:
            self._session.join(channel)
        return channel

    async def leave(self, channel: Channel) -> None:
        """Leave a channel: its iterator gives nothing more. Returns when the server has done it, or the connection is
        over; if the call is cancelled, the server is told all the same."""
        await self._session.leave(channel)

    async def send(
        self, channel: str, text: str, *, data: Json | None = None, reply_to: str | None = None, key: str | None = None
    ) -> Receipt:
        """Send a message, and return when it is in the log: once, even if it had to be tried several times.

        Sends to one channel go one after another, in the order of the calls. Raises `MaruError`: the server's refusal,
        `outbox_full`, `key_expired`, `connection_ended`, or the reason of the bot's end. If the call is cancelled, the
        message may be in the log or not; another call with the same `key` finds out without doubling it.
        """
        payload = {
            "channel": channel,
            "text": text,
            "data": data,
            "reply_to": reply_to,
            "key": key or str(uuid.uuid4()),
        }
        return await self._outbox.send(channel, payload)

    async def edit(self, channel: str, id: str, text: str, *, data: Json | None = None) -> Receipt:
        """Change a message. Tried once: after a retryable `MaruError` the message may be changed or not."""
        return await self._command("message:edit", {"channel": channel, "id": id, "text": text, "data": data}, receipt)

    async def delete(self, channel: str, id: str) -> Position:
        """Delete a message; to delete it twice is no error. Tried once, as `edit`."""
        return await self._command("message:delete", {"channel": channel, "id": id}, position)

    async def history(
        self, channel: str, *, before: int | None = None, after: int | None = None, limit: int | None = None
    ) -> Page:
        """Read messages in their current state; `before` and `after` are offsets, exclusive. Tried once, as `edit`."""
        return await self._command(
            "history:read", {"channel": channel, "before": before, "after": after, "limit": limit}, page
        )

    async def _command(self, name: str, payload: Json, answered: Callable[[Json], _T]) -> _T:
        try:
            async with asyncio.timeout(self._patience.ack):
                connection = await self._session.connected()
        except TimeoutError:
            raise transient("offline", f"not connected, {name} was not sent") from None
        return await connection.command(name, payload, answered)
