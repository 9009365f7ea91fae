"""The last event of each channel that this process has seen: a Redis that comes back without it is found out."""

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from server.domain.channels import ChannelName
from server.domain.messages import Position

SEEN_LIMIT = 200_000
"""Channels whose last event is remembered. The least recently used are forgotten first."""


HEARD_S = 12.0
"""A channel is hosted here if it was heard within this time: the hub compares each hosted channel every 8 s. The time
of an outage of Redis does not count."""

OUTAGE_S = 3.0
"""Without an answer of Redis for longer than this, it is away: the sweep asks every second."""


class Seen(NamedTuple):
    """The last event of a channel."""

    epoch: str
    offset: int
    at: int


class SeenEvents:
    """Remembers the last event of up to `limit` channels."""

    def __init__(self, limit: int = SEEN_LIMIT, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._limit, self._monotonic = limit, monotonic
        self._heard: dict[ChannelName, float] = {}  # when the hub last had news of a channel, of those in `_last`
        self._answered = monotonic()  # when Redis last answered
        self._away = 0.0  # seconds of all outages
        self._last: OrderedDict[ChannelName, Seen] = OrderedDict()  # least recently used first

    def last(self, channel: ChannelName) -> Seen | None:
        """Return the channel's last event; None if nothing of the channel was seen, or the event was forgotten."""
        seen = self._last.get(channel)
        if seen is not None:
            self._last.move_to_end(channel)
        return seen

    def note(self, channel: ChannelName, event: Seen) -> None:
        """Remember the event, unless a later one of the same epoch is remembered."""
        self.answered()
        seen = self._last.get(channel)
        if seen is None or seen.epoch != event.epoch or seen.offset < event.offset:
            self._last[channel] = event
            self._last.move_to_end(channel)
            if len(self._last) > self._limit:
                self._heard.pop(self._last.popitem(last=False)[0], None)

    def hear(self, channel: ChannelName, event: Seen) -> None:
        """Note an event that the hub has delivered or read."""
        self.note(channel, event)
        self._heard[channel] = self._now()

    def hosts(self, channel: ChannelName) -> bool:
        """Say whether the channel is hosted here, so that all its events are heard."""
        heard = self._heard.get(channel)
        return heard is not None and self._now() - heard < HEARD_S

    def answered(self) -> None:
        """Note that Redis answers."""
        now = self._monotonic()
        self._away += max(0.0, now - self._answered - OUTAGE_S)
        self._answered = now

    def _now(self) -> float:
        """Seconds in which Redis was there."""
        return min(self._monotonic(), self._answered + OUTAGE_S) - self._away


def head_of(
    channel: ChannelName, epoch: bytes, head: bytes, at: bytes, note: Callable[[ChannelName, Seen], None]
) -> Position:
    """Return the position of a log's head as a script tells it, and let `note` have the event that stands there."""
    position = Position(epoch.decode(), int(head))
    if position.offset:
        note(channel, Seen(position.epoch, position.offset, int(at)))
    return position
