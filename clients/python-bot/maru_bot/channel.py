"""One channel: its position, the events that wait for its reader, and how gaps are found and filled."""

import asyncio

from maru_bot.connection import Connection
from maru_bot.errors import Backoff, MaruError
from maru_bot.events import Event, Json, Position, Reset
from maru_bot.parsing import log_event, position
from maru_bot.payload import present
from maru_bot.reader import Reader


class Channel(Reader):
    """Iterate over it, from one task: every event once and in order, over lost connections and restarts.

    The bot joins the channel as soon as there is a connection, and stays joined until it leaves the channel. Iteration
    ends when the bot leaves, when the bot is closed, and when the server takes the bot out of the channel (`error` says
    why), also by refusing to let it in again. Iteration raises `MaruError` if the server refuses the first join, or if
    the bot had to give up.

    `limit` bounds the events that wait for a slow reader. If so many wait, newer events are dropped; when the reader
    has taken all, the channel is joined again from the reader's position. So memory is bounded and no event is lost.
    A reader that is more than 1,000 events behind gets a `Reset` instead, as after any outage of that length.
    """

    def __init__(self, name: str, since: Position | None, history: int | None, limit: int, backoff: Backoff) -> None:
        super().__init__(limit, self._all_taken)
        self.name = name
        self.position = since  # of the last event that the reader gets
        self._history = history
        self._backoff = backoff
        self._wanted = asyncio.Event()  # to be joined, and neither joined nor held back by a slow reader
        self._wanted.set()
        self._entered = asyncio.Event()  # joined once, or closed
        self._was_live = False  # joined once
        self._live = False  # every later event comes, from the position on
        self._behind = False  # events were dropped, as the reader is slow
        self.presence = False  # whether signals of who comes and goes are wanted
        self._failures = 0  # joins that failed, in a row
        self._pause = 0.0  # at least so many seconds before the next join

    async def joined(self) -> None:
        """Wait for the first join: messages sent after it are also read. Raises the reason if the channel is closed."""
        await self._entered.wait()
        if self.closed:
            raise self.error or MaruError("closed", f"the bot has left {self.name}")

    @property
    def resumable(self) -> Position | None:
        """The position for `resume`; None for a channel never joined, or held back by its reader."""
        return None if self._behind else self.position

    async def keep(self, connection: Connection) -> None:
        """Join whenever it is needed, until the connection ends or is replaced, or the channel is closed."""
        rested = False
        while not connection.done:
            await self._wanted.wait()
            if self._failures and not rested:
                await self._rest()
            async with connection.joins:
                if self.closed or connection.done:
                    return
                rested = self._wanted.is_set() and await self._try(connection)

    async def _try(self, connection: Connection) -> bool:
        """Join. If that was too fast, rest meanwhile, so that other channels do not come even faster; return whether
        this was so."""
        try:
            await self._join(connection)
        except MaruError as error:
            if not connection.done:  # else the next connection joins
                self._refused(error)
                if error.code == "rate_limited" and not self.closed:
                    await self._rest()
                    return True
        return False

    async def _rest(self) -> None:
        await asyncio.sleep(max(self._pause, self._backoff(self._failures - 1)))

    async def _join(self, connection: Connection) -> None:
        since = self.position
        place = None if since is None else {"epoch": since.epoch, "offset": since.offset}
        body = {"channel": self.name, "since": place, "history": self._history, "presence": self.presence}

        def joined(ack: Json) -> None:
            if not connection.done:  # a connection that was replaced brings no later events
                self.adopt(ack, since)

        await connection.command("channel:join", present(body), joined)

    def _refused(self, error: MaruError) -> None:
        if error.retryable:
            self._rejoin(error.retry_after)
        else:
            self.close(error, fatal=not self._was_live)

    def adopt(self, reply: Json, since: Position | None) -> None:
        """Go live with the answer to a join or resume that has named `since`.

        The answer goes on at `since`. If the channel has not got that far, it joins again: events would be missing.
        """
        self._failures, self._pause = 0, 0.0
        self._wanted.clear()
        if self.closed or self._behind:
            return
        events, end = reply["events"], position(reply)
        whole = reply["recovered"] is True
        if not (self._covers(since, end) if whole else self.position == since):
            self._rejoin(None)
            return
        if not whole and since is not None and not self._put(Reset(self.name, reply["reason"], end)):
            return
        if not whole:
            self.position = Position(end.epoch, events[0]["offset"] - 1 if events else end.offset)
        self._history = None  # history is for the first join; later joins bring the events after the position
        if all(self._apply(event["event"], event) for event in events):
            self._advance(end)
            self._live = self._was_live = True
            self._entered.set()

    def _covers(self, since: Position | None, end: Position) -> bool:
        """Whether the reader has all events up to `since`, in the log of the answer."""
        at = self.position
        return (
            since is not None and at is not None and at.epoch == since.epoch == end.epoch and at.offset >= since.offset
        )

    def restart(self, reply: Json) -> None:
        """Take `channel:resumed` that nobody asked for: the server can't bring the next events of a live channel."""
        if not self._live:
            return  # the answer to the join tells it
        end = position(reply)
        if reply["recovered"] is not False:
            self._rejoin(None)
        elif self._put(Reset(self.name, reply["reason"], end)):
            self.position = end

    def catch_up(self, reply: Json, since: Position | None) -> bool:
        """Take `channel:resumed` from a replacement, while the current connection still brings events.

        Return whether both now bring the same events. If not, the replacement has to join.
        """
        if not self._live or self.position is None or reply["recovered"] is not True:
            return False
        end = position(reply)
        if not self._covers(since, end) or not all(self._apply(event["event"], event) for event in reply["events"]):
            return False
        self._advance(end)
        return True

    def receive(self, name: str, body: Json) -> bool:
        """Take a live event. A gap, or another log, is healed by another join: the ack brings this event too.

        Return False if the connection alone does not bring the missing events.
        """
        if not self._live or self.position is None:
            return False
        place = position(body)
        if place.epoch == self.position.epoch and place.offset <= self.position.offset + 1:
            return self._apply(name, body)
        self._rejoin(None)
        return False

    def removed(self, error: MaruError) -> None:
        """Close the channel, as the server took the bot out; if the reason is transient, join again."""
        if error.retryable:
            self._rejoin(error.retry_after)
        else:
            self.close(error, fatal=False)

    def lost(self) -> None:
        """Wait for the next connection, as this one is lost."""
        self._live = False
        self._failures, self._pause = 0, 0.0
        if not self._behind:
            self._wanted.set()

    def close(self, error: Exception | None, *, fatal: bool, now: bool = False) -> None:
        """End iteration after the events that wait, or `now`; it raises `error` if that is `fatal`."""
        if self.end(error, fatal=fatal, now=now):
            self._live = False
            self._wanted.set()
            self._entered.set()

    def _advance(self, end: Position) -> None:
        """Move the position to the end of an answer, unless another connection has brought later events."""
        if self.position is None or end.epoch != self.position.epoch or end.offset > self.position.offset:
            self.position = end

    def _apply(self, name: str, body: Json) -> bool:
        """Give the reader an event if it is new. Return False if there is no room for it."""
        place = position(body)
        if self.position is not None and place.offset <= self.position.offset:
            return True
        event = log_event(name, body)
        if event is not None and not self._put(event):
            return False
        self.position = place
        return True

    def _put(self, event: Event) -> bool:
        if self.put(event):
            return True
        self._live, self._behind = False, True
        return False

    def _all_taken(self) -> None:
        """Ask for the dropped events: the reader has taken all that waited."""
        if self._behind:
            self._behind = False
            self._wanted.set()

    def _rejoin(self, pause: float | None) -> None:
        """Join again: at once, or (with a number) after a backoff of at least that many seconds."""
        self._live = False
        if pause is not None:
            self._failures, self._pause = self._failures + 1, pause
        self._wanted.set()
