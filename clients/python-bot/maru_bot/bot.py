"""`MaruBot`: a client that stays connected, reads channels without a hole and sends without a double."""

import asyncio
import uuid
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Self

from maru_bot.acts import Acts
from maru_bot.channel import Channel
from maru_bot.errors import MaruError, transient
from maru_bot.events import Json, Page, Position, Receipt
from maru_bot.outbox import Outbox
from maru_bot.parsing import page, position, receipt
from maru_bot.session import Patience, Session
from maru_bot.signals import Signals
from maru_bot.together import Together
from maru_bot.tokens import GetToken


class MaruBot(Acts):
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
        super().__init__(Session(url, token, self._patience), self._patience.ack)
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

    def channel(
        self, name: str, *, history: int | None = None, since: Position | None = None, presence: bool = False
    ) -> Channel:
        """Join a channel, and stay in it: `async for event in bot.channel(...)`.

        With `since`, the events after that position come first; else the last `history` (0..100) events. A `since`
        that is no position fails this channel alone: iteration raises `bad_request`. With `presence`, `signals` tell of
        users that come and go.
        """
        known = self._session.channels.get(name)
        if known is not None and not known.closed:
            raise ValueError(f"{name} is open already: use that iterator, or leave it first")
        channel = Channel(name, since, history, self._buffer, self._patience.backoff)
        channel.presence = presence
        if since is not None and not since.valid:
            channel.close(MaruError("bad_request", f"since is no position of {name}"), fatal=True)
        else:
            self._session.join(channel)
        return channel

    def channels(self, names: Iterable[str], *, history: int | None = None, presence: bool = False) -> Together:
        """Join several channels, as `channel` does, and read them in one place: each event has its `channel`."""
        return Together([self.channel(name, history=history, presence=presence) for name in names])

    async def joined(self, name: str) -> None:
        """Wait until an open channel is joined: messages sent after that are read, too. Raises the reason if it is
        closed."""
        channel = self._session.channels.get(name)
        if channel is None:
            raise ValueError(f"{name} is not open: call channel() first")
        await channel.joined()

    def signals(self, limit: int = 1_000) -> Signals:
        """Iterate over the signals of all joined channels: typing, reading, presence, events that are in no log. There
        is one reader; without one they are not kept."""
        if self._session.channels.signals is not None:
            raise ValueError("the signals are read already: use that iterator")
        self._session.channels.signals = signals = Signals(limit)
        return signals

    async def leave(self, channel: Channel | str) -> None:
        """Leave a channel: its iterator gives nothing more. Returns when the server has done it, or the connection is
        over; if the call is cancelled, the server is told all the same. Leaving a channel that is not open does
        nothing."""
        known = self._session.channels.get(channel) if isinstance(channel, str) else channel
        if known is not None:
            await self._session.leave(known)

    async def send(
        self,
        channel: str,
        text: str,
        *,
        data: Json | None = None,
        reply_to: str | None = None,
        key: str | None = None,
        mentions: Sequence[str] | None = None,
        timeout: float | None = None,
    ) -> Receipt:
        """Send a message, and return when it is in the log: once, even if it had to be tried several times.

        `mentions` names users, or `"*"` alone for everybody. After `timeout` seconds the call gives up, and raises
        `timeout`; without, it waits for up to 23 hours.
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
            "mentions": None if mentions is None else list(mentions),
        }
        try:
            async with asyncio.timeout(timeout):
                return await self._outbox.send(channel, payload)
        except TimeoutError:
            raise transient("timeout", f"the message was not acked within {timeout} s; it may be in the log") from None

    async def edit(self, channel: str, id: str, text: str, *, data: Json | None = None) -> Receipt:
        """Change a message. Tried once: after a retryable `MaruError` the message may be changed or not."""
        return await self.command("message:edit", {"channel": channel, "id": id, "text": text, "data": data}, receipt)

    async def delete(self, channel: str, id: str) -> Position:
        """Delete a message; to delete it twice is no error. Tried once, as `edit`."""
        return await self.command("message:delete", {"channel": channel, "id": id}, position)

    async def history(
        self, channel: str, *, before: int | None = None, after: int | None = None, limit: int | None = None
    ) -> Page:
        """Read messages in their current state; `before` and `after` are offsets, exclusive. Tried once, as `edit`."""
        return await self.command(
            "history:read", {"channel": channel, "before": before, "after": after, "limit": limit}, page
        )
