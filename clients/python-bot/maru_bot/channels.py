"""The channels that the bot has opened, over one connection after another."""

from maru_bot.attempt import Attempt
from maru_bot.channel import Channel
from maru_bot.errors import MaruError
from maru_bot.events import LOG_EVENTS, Json

TRANSIENT = frozenset({"rate_limited", "unavailable", "overloaded"})
"""Codes of `channel:removed`, which brings no `retryable`, that time can heal."""

RESUME_CHANNELS = 500
RESUME_CHARS = 32_768
"""Limits of CONNECT's `resume`: half a frame, as the token is in it too. Other channels are joined one by one."""

RESUME_ENTRY_CHARS = 64
"""Characters of an entry beside the names: brackets, quotes, and an offset of up to 16 digits."""


class Channels:
    """Open channels by name. None of its methods awaits, so events are handled in the order in which they came."""

    def __init__(self) -> None:
        self._channels: dict[str, Channel] = {}

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

    def resume(self) -> dict[str, Json]:
        """Return the channels' positions, as many as CONNECT takes."""
        resume: dict[str, Json] = {}
        chars = 0
        for name, channel in self._channels.items():
            place = channel.resumable
            if place is None or channel.closed:
                continue
            chars += len(name) + len(place.epoch) + RESUME_ENTRY_CHARS
            if chars > RESUME_CHARS or len(resume) == RESUME_CHANNELS:
                break
            resume[name] = {"epoch": place.epoch, "offset": place.offset}
        return resume

    def begin(self, attempt: Attempt, *, replacing: bool) -> None:
        """Keep every channel joined on a connection that is ready, and leave the channels that it resumed in vain.

        With `replacing`, the old connection was in use until now: a channel that only that one brought is joined.
        """
        self._channels = {name: channel for name, channel in self._channels.items() if not channel.closed}
        for channel in self._channels.values():
            if replacing and channel.name not in attempt.resumed:
                channel.lost()
            attempt.tasks.create_task(channel.keep(attempt.connection))
        for name in attempt.resumed - self._channels.keys():
            attempt.leave(name)

    def lost(self) -> None:
        """There is no connection any more."""
        for channel in self._channels.values():
            channel.lost()

    def close(self, error: Exception, *, fatal: bool) -> None:
        """End every channel, as `Channel.close` does."""
        for channel in self._channels.values():
            channel.close(error, fatal=fatal)

    def heard(self, attempt: Attempt, name: str, body: Json, *, beside: bool) -> None:
        """Handle an event of a channel. `beside`: another connection is in use, and this one is its replacement."""
        if name in LOG_EVENTS:
            channel = self._channels.get(body["channel"])
            if channel is not None and not channel.receive(name, body):
                attempt.resumed.discard(channel.name)
        elif name == "channel:resumed":
            self._resumed(attempt, body, beside=beside)
        elif name == "channel:removed":
            self._removed(body["channel"], body["code"], beside=beside)

    def _resumed(self, attempt: Attempt, body: Json, *, beside: bool) -> None:
        channel = self._channels.get(body["channel"])
        if channel is None:  # left after CONNECT was sent
            attempt.leave(body["channel"])
        elif not beside:
            channel.adopt(body)
        elif channel.catch_up(body):
            attempt.resumed.add(channel.name)

    def _removed(self, name: str, code: str, *, beside: bool) -> None:
        channel = self._channels.get(name)
        if channel is None or (code in TRANSIENT and beside):
            return  # a replacement joins the channels that it has not resumed
        channel.removed(MaruError(code, f"no longer in {name}", retryable=code in TRANSIENT))
