"""The last event of each channel that this process has seen: a Redis that comes back without it is found out."""

from collections import OrderedDict
from typing import NamedTuple

from server.domain.channels import ChannelName

SEEN_LIMIT = 200_000
"""Channels whose last event is remembered. The least recently used are forgotten first."""


class Seen(NamedTuple):
    """The last event of a channel."""

    epoch: str
    offset: int
    at: int


class SeenEvents:
    """Remembers the last event of up to `limit` channels."""

    def __init__(self, limit: int = SEEN_LIMIT) -> None:
        self._limit = limit
        self._last: OrderedDict[ChannelName, Seen] = OrderedDict()  # least recently used first

    def last(self, channel: ChannelName) -> Seen | None:
        """Return the channel's last event; None if nothing of the channel was seen, or the event was forgotten."""
        seen = self._last.get(channel)
        if seen is not None:
            self._last.move_to_end(channel)
        return seen

    def note(self, channel: ChannelName, event: Seen) -> None:
        """Remember the event, unless a later one of the same epoch is remembered."""
        seen = self._last.get(channel)
        if seen is None or seen.epoch != event.epoch or seen.offset < event.offset:
            self._last[channel] = event
            self._last.move_to_end(channel)
            if len(self._last) > self._limit:
                self._last.popitem(last=False)
