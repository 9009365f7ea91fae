"""One channel: where its reader is, what waits for it, and how holes are found and filled."""

import asyncio
from collections import deque
from typing import Self

from maru_bot.connection import Connection
from maru_bot.errors import Backoff, MaruError
from maru_bot.events import Event, Json, Position, Reset, log_event, position


class Channel:
    """Iterate over it, from one task: every event once and in order, over lost connections and restarts.

    It joins as soon as there is a connection and stays joined until the bot leaves it. Iteration ends after that,
    after the bot's end, and when the server takes the bot out of the channel (`error` says why); it raises `MaruError`
    when the server does not let the bot in, or when the bot had to give up.

    `limit` bounds what waits for a slow reader: once as many events wait, newer ones are dropped, and when the reader
    has taken all, they are asked for again by position. So memory is bounded and nothing is lost; a reader more than
    1,000 events behind gets a `Reset` in their place, as after any outage of that length.
    """

    def __init__(self, name: str, since: Position | None, history: int | None, limit: int, backoff: Backoff) -> None:
        self.name = name
        self.position = since
        self.error: Exception | None = None
        self._history = history
        self._limit = limit
        self._backoff = backoff
        self._waiting: deque[Event] = deque()  # bounded by `_put`, which does not drop silently as `maxlen` would
        self._arrived = asyncio.Event()
        self._wanted = asyncio.Event()  # to be joined, and neither joined nor held back by a slow reader
        self._wanted.set()
        self._entered = asyncio.Event()
        self._live = False
        self._behind = False
        self._closed = False
        self._fatal = False
        self._failures = 0
        self._pause = 0.0

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        while not self._waiting:
            self._drained()
            if self._fatal and self.error is not None:
                raise self.error
            if self._closed:
                raise StopAsyncIteration
            self._arrived.clear()
            await self._arrived.wait()
        return self._waiting.popleft()

    async def joined(self) -> None:
        """Wait for the first join: what is sent from here on is also read. Raises where the bot is not let in."""
        await self._entered.wait()
        if self._fatal and self.error is not None:
            raise self.error

    @property
    def waiting(self) -> int:
        """How many events wait for the reader; never more than the limit."""
        return len(self._waiting)

    @property
    def closed(self) -> bool:
        """Nothing will be added any more."""
        return self._closed

    @property
    def resumable(self) -> Position | None:
        """What to name in `resume`; None for a channel never joined, or held back by its reader."""
        return None if self._behind else self.position

    async def keep(self, link: Connection) -> None:
        """Join whenever that is wanted, until `link` ends, or has an heir, or the channel is closed."""
        while not link.done:
            await self._wanted.wait()
            if self._failures:
                await asyncio.sleep(max(self._pause, self._backoff(self._failures - 1)))
            if self._closed or link.done:
                return
            since = None if self.position is None else {"epoch": self.position.epoch, "offset": self.position.offset}
            try:
                await link.command(
                    "channel:join", {"channel": self.name, "since": since, "history": self._history}, self.adopt
                )
            except MaruError as error:
                if not error.retryable:
                    self.close(error, fatal=True)
                elif not link.done:
                    self._again(error.retry_after)

    def adopt(self, reply: Json) -> None:
        """Take what `channel:join`'s ack and `channel:resumed` have in common."""
        self._failures, self._pause = 0, 0.0
        self._wanted.clear()
        if self._closed or self._behind:
            return
        events, end = reply["events"], position(reply)
        if reply["recovered"] is False and not self._put(Reset(self.name, reply["reason"], end)):
            return
        if reply["recovered"] is not True:
            self.position = Position(end.epoch, events[0]["offset"] - 1 if events else end.offset)
        self._history = None  # history is for the first join; from here on the position tells what is missing
        if all(self._apply(event["event"], event) for event in events):
            self._advance(end)
            self._live = True
            self._entered.set()

    def catch_up(self, reply: Json) -> bool:
        """Take what a second connection resumed with, while the first one still brings events. Return whether both now
        go on from the same place; else the second one has to join."""
        if not self._live or self.position is None or reply["recovered"] is not True:
            return False
        end = position(reply)
        if end.epoch != self.position.epoch or not all(self._apply(event["event"], event) for event in reply["events"]):
            return False
        self._advance(end)
        return True

    def receive(self, name: str, body: Json) -> bool:
        """Take a live event. A gap, or another log, is healed by joining anew: the answer brings this event too.

        Return False where this connection alone does not bring what is missing.
        """
        if not self._live or self.position is None:
            return False
        place = position(body)
        if place.epoch == self.position.epoch and place.offset <= self.position.offset + 1:
            return self._apply(name, body)
        self._again(None)
        return False

    def removed(self, error: MaruError) -> None:
        """The server took the bot out; for a reason that passes, join again."""
        if error.retryable:
            self._again(error.retry_after)
        else:
            self.close(error, fatal=False)

    def lost(self) -> None:
        """The connection is gone."""
        self._live = False
        self._failures, self._pause = 0, 0.0
        if not self._behind:
            self._wanted.set()

    def close(self, error: Exception | None, *, fatal: bool) -> None:
        """End iteration after what waits: by raising `error` where it is `fatal`."""
        if self._closed:
            return
        self._closed, self._live = True, False
        self.error, self._fatal = error, fatal
        self._wanted.set()
        self._entered.set()
        self._arrived.set()

    def _advance(self, end: Position) -> None:
        """Go to where an answer ends, unless another connection has brought more meanwhile."""
        if self.position is None or end.epoch != self.position.epoch or end.offset > self.position.offset:
            self.position = end

    def _apply(self, name: str, body: Json) -> bool:
        """Let an event through if it is new; False where the reader has no room for it."""
        place = position(body)
        if self.position is not None and place.offset <= self.position.offset:
            return True
        event = log_event(name, body)
        if event is not None and not self._put(event):
            return False
        self.position = place
        return True

    def _put(self, event: Event) -> bool:
        if len(self._waiting) >= self._limit:
            self._live, self._behind = False, True
            return False
        self._waiting.append(event)
        self._arrived.set()
        return True

    def _drained(self) -> None:
        """The reader has taken everything: ask for what was dropped meanwhile."""
        if self._behind:
            self._behind = False
            self._wanted.set()

    def _again(self, pause: float | None) -> None:
        """Join again: at once, or (with a number) after a backoff of at least so many seconds."""
        self._live = False
        if pause is not None:
            self._failures, self._pause = self._failures + 1, pause
        self._wanted.set()
