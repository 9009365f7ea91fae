"""A bot for programs without asyncio: the same bot, which runs in a thread of its own.

with SyncBot("http://127.0.0.1:8080", get_token) as bot:
    bot.send("room:lobby", "hello")
    for event in bot.read("room:lobby"):
        ...
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from types import TracebackType
from typing import Any, Self, TypeVar

from maru_bot.bot import MaruBot
from maru_bot.events import Event, Json, Page, Position, Receipt
from maru_bot.people import Signal
from maru_bot.tokens import GetToken

_T = TypeVar("_T")

Items = Generator[_T, None, None]
"""An iterator that is over when it is closed."""


class SyncBot:
    """Use as a context manager, from any thread. Each call waits for its answer, and raises as `MaruBot` does.

    `options` are those of `MaruBot`. Whatever else the bot can do: `bot.call(lambda bot: bot.mark_read(channel, 7))`.
    """

    def __init__(self, url: str, token: GetToken | str, **options: Any) -> None:
        self._make: Callable[[], MaruBot] = lambda: MaruBot(url, token, **options)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._bot: MaruBot | None = None

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="maru-bot", daemon=True)
        self._thread.start()
        try:
            self._bot = self._wait(self._enter())
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.call(lambda bot: bot.aclose())
        finally:
            self._stop()
            self._bot = None

    def call(self, act: Callable[[MaruBot], Coroutine[Any, Any, _T]]) -> _T:
        """Do anything with the bot, and wait for it."""
        if self._bot is None:
            raise RuntimeError("enter the bot first: with SyncBot(...) as bot")
        return self._wait(act(self._bot))

    def send(
        self, channel: str, text: str, *, data: Json | None = None, reply_to: str | None = None, key: str | None = None
    ) -> Receipt:
        """Send a message; return when it is in the log."""
        return self.call(lambda bot: bot.send(channel, text, data=data, reply_to=reply_to, key=key))

    def history(
        self, channel: str, *, before: int | None = None, after: int | None = None, limit: int | None = None
    ) -> Page:
        """Read messages in their current state."""
        return self.call(lambda bot: bot.history(channel, before=before, after=after, limit=limit))

    def read(self, *channels: str, history: int | None = None, since: Position | None = None) -> Items[Event]:
        """Join channels, and yield their events for ever; the channels are left when the iterator is closed. `since` is
        for a single channel."""

        async def join(bot: MaruBot) -> AsyncIterator[Event]:
            if len(channels) == 1:
                return bot.channel(channels[0], history=history, since=since)
            return bot.channels(channels, history=history)

        return self._each(self.call(join), channels)

    def signals(self) -> Items[Signal]:
        """Yield the signals of all joined channels, for ever."""

        async def open_signals(bot: MaruBot) -> AsyncIterator[Signal]:
            return bot.signals()

        return self._each(self.call(open_signals), ())

    def _each(self, items: AsyncIterator[_T], channels: tuple[str, ...]) -> Items[_T]:
        async def leave(bot: MaruBot) -> None:
            for name in channels:
                await bot.leave(name)

        try:
            while item := self._wait(_next(items)):
                yield item[0]
        finally:
            if self._bot is not None:  # else the iterator has outlived the bot
                self.call(leave)

    async def _enter(self) -> MaruBot:
        return await self._make().__aenter__()

    def _wait(self, act: Coroutine[Any, Any, _T]) -> _T:
        assert self._loop is not None  # entered
        future = asyncio.run_coroutine_threadsafe(act, self._loop)
        try:
            return future.result()
        except BaseException:  # of the caller's thread, too: KeyboardInterrupt
            future.cancel()
            raise

    def _stop(self) -> None:
        assert self._loop is not None
        assert self._thread is not None
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _next(items: AsyncIterator[_T]) -> tuple[_T, ...]:
    """Return the next item, or nothing at the end: a coroutine can't raise `StopAsyncIteration`."""
    try:
        return (await anext(items),)
    except StopAsyncIteration:
        return ()
