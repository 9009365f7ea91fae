"""The channels that the bot has opened, over one connection after another."""

import asyncio
import re

from maru_bot.attempt import Attempt
from maru_bot.channel import Channel
from maru_bot.connection import Connection
from maru_bot.errors import Backoff, MaruError
from maru_bot.events import LOG_EVENTS, Json
from maru_bot.people import SIGNALS, signal
from maru_bot.signals import Signals

TRANSIENT = frozenset({"rate_limited", "unavailable", "overloaded"})
"""Codes of `channel:removed`, which brings no `retryable`, that time can heal."""

RESUME_CHANNELS = 500
RESUME_CHARS = 32_768
"""Limits of CONNECT's `resume`: half a frame, as the token is in it too. Other channels are joined one by one."""

RESUME_ENTRY_CHARS = 96
"""Characters of an entry beside the names: brackets, quotes, `presence`, and an offset of up to 16 digits."""

_NAME = re.compile(r"(?=.{1,128}\Z)[a-z0-9][a-z0-9._-]*(:[a-z0-9._-]+)*")
"""A channel's name: CONNECT is refused as a whole if one name is none."""


class Channels:
    """Open channels by name. None of its methods awaits, so events are handled in the order in which they came."""

    def __init__(self, backoff: Backoff) -> None:
        self._channels: dict[str, Channel] = {}
        self.signals: Signals | None = None  # None if nobody reads them
        self._backoff = backoff

    def get(self, name: str) -> Channel | None:
        """Return the channel of that name."""
        return self._channels.get(name)

    def add(self, channel: Channel) -> None:
        """Add a channel, in place of a closed one of that name."""
        self._channels[channel.name] = channel

    def remove(self, channel: Channel) -> bool:
        """Remove a channel. Return whether it was here: another channel of that name stays."""
        known = self._channels.get(channel.name) is channel
        if known:
            del self._channels[channel.name]
        return known

    def resume(self, attempt: Attempt) -> dict[str, Json]:
        """Return the channels' positions, as many as CONNECT takes.

        The attempt remembers whose they are: an answer that comes after a leave is not for a later channel of that
        name.
        """
        resume: dict[str, Json] = {}
        chars = 0
        for name, channel in self._channels.items():
            place = channel.resumable
            if place is None or channel.closed or _NAME.fullmatch(name) is None:
                continue
            chars += len(name) + len(place.epoch) + RESUME_ENTRY_CHARS
            if chars > RESUME_CHARS or len(resume) == RESUME_CHANNELS:
                break
            resume[name] = {"epoch": place.epoch, "offset": place.offset, "presence": channel.presence}
            attempt.named[name] = (channel, place)
        return resume

    def begin(self, attempt: Attempt, *, replacing: bool) -> None:
        """Keep every channel joined on a connection that is ready. Leave those that were left since it resumed them.

        With `replacing`, the old connection was in use until now: a channel that only that one brought is joined.
        """
        self._channels = {name: channel for name, channel in self._channels.items() if not channel.closed}
        for channel in self._channels.values():
            if replacing and channel not in attempt.resumed:
                channel.lost()
            attempt.tasks.create_task(channel.keep(attempt.connection))
        for name in attempt.entered - self._channels.keys():
            self.leave(attempt, name)

    def leave(self, attempt: Attempt, name: str) -> asyncio.Task[None]:
        """Leave a channel on one connection, in a task that ends with the connection."""
        return attempt.tasks.create_task(self._leave(attempt.connection, name))

    async def _leave(self, connection: Connection, name: str) -> None:
        """Leave again and again, until it is done or not needed: a later join makes it pointless."""
        failures = 0
        while not connection.done and not self._is_open(name):
            try:
                await connection.command("channel:leave", {"channel": name}, lambda _: None)
                break
            except MaruError as error:
                if not error.retryable:
                    break
                await connection.pause(max(error.retry_after, self._backoff(failures)))
            failures += 1

    def _is_open(self, name: str) -> bool:
        channel = self._channels.get(name)
        return channel is not None and not channel.closed

    def lost(self) -> None:
        """There is no connection any more."""
        for channel in self._channels.values():
            channel.lost()

    def close(self, error: Exception, *, fatal: bool, now: bool) -> None:
        """End every channel, as `Channel.close` does."""
        for channel in self._channels.values():
            channel.close(error, fatal=fatal, now=now)
        if self.signals is not None:
            self.signals.close()

    def heard(self, attempt: Attempt, name: str, body: Json, *, beside: bool) -> None:
        """Handle an event of a channel. `beside`: another connection is in use, and this one is its replacement."""
        if name in LOG_EVENTS and "offset" in body:
            channel = self._channels.get(body["channel"])
            if channel is not None and not channel.receive(name, body):
                attempt.resumed.discard(channel)
        elif name in SIGNALS or name in LOG_EVENTS:
            if self.signals is not None and not beside and (heard := signal(name, body)) is not None:
                self.signals.put(heard)
        elif name == "channel:resumed":
            self._resumed(attempt, body, beside=beside)
        elif name == "channel:removed":
            self._removed(attempt, body["channel"], body["code"], beside=beside)

    def _resumed(self, attempt: Attempt, body: Json, *, beside: bool) -> None:
        """Take the answer to a channel that CONNECT has named; else the server can't go on with a live channel."""
        name = body["channel"]
        channel = self._channels.get(name)
        asked, since = attempt.named.pop(name, (None, None))
        if channel is None or channel.closed:  # left after CONNECT was sent
            self.leave(attempt, name)
            return
        attempt.entered.add(name)
        if asked is None and beside:
            attempt.resumed.discard(channel)  # it is joined when the connection is in use
        elif asked is None:
            channel.restart(body)
        elif asked is not channel:
            return  # left, and opened again: `keep` joins it
        elif not beside:
            channel.adopt(body, since)
        elif channel.catch_up(body, since):
            attempt.resumed.add(channel)

    def _removed(self, attempt: Attempt, name: str, code: str, *, beside: bool) -> None:
        channel = self._channels.get(name)
        asked, _ = attempt.named.pop(name, (channel, None))
        if channel is None or asked is not channel:
            return  # left; a channel that was opened again since has its own answer
        attempt.resumed.discard(channel)
        if code not in TRANSIENT or not beside:  # a replacement joins the channels that it has not resumed
            channel.removed(MaruError(code, f"no longer in {name}", retryable=code in TRANSIENT))
