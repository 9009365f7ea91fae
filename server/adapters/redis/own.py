"""The messages that this process has just written to Redis.

The hints at them need not be decoded, and what was made of a message for its sender serves its delivery, too.
"""

from server.domain.channels import ChannelName
from server.domain.events import MessageCreated

OWN_LIMIT = 512
"""Messages whose hints have not come: those of two round trips. The oldest is forgotten; its hint is decoded."""


class OwnEvents:
    """Remembers new messages until their hints come, which may be never."""

    def __init__(self) -> None:
        self._events: dict[tuple[ChannelName, bytes], MessageCreated] = {}  # by channel, and how their hints begin

    def add(self, event: MessageCreated) -> None:
        """Remember an event that the script has hinted at."""
        self._events[(event.channel, f"{event.epoch} {event.offset} c".encode())] = event
        if len(self._events) > OWN_LIMIT:
            del self._events[next(iter(self._events))]

    def take(self, channel: ChannelName, hint: bytes) -> MessageCreated | None:
        """Return the event that the hint is at, if it is remembered, and forget it. The hint at the place of a message
        that was deleted since begins with other words."""
        kind = hint.find(b" ", hint.find(b" ") + 1) + 1
        return self._events.pop((channel, hint[: kind + 1]), None)
