"""Events of applications, kept in the log of their channel."""

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Protocol

from server.domain.channels import ChannelName
from server.domain.drafts import Record
from server.domain.events import EventPublished
from server.domain.messages import Position


@dataclass(frozen=True, slots=True)
class Recorded:
    """The event that a record became. `duplicate` and `hinted` as in `Appended`."""

    event: EventPublished
    duplicate: bool
    hinted: bool = False


@dataclass(frozen=True, slots=True)
class RecordPage:
    """Events of applications, oldest first. `more`: at least one further lies beyond the page, in the direction of
    reading."""

    events: Sequence[EventPublished]
    head: Position
    more: bool


class Records(Protocol):
    """Events of applications. Implemented beside a `MessageLog`, in the same store and the same logs.

    1. `record` gives the event the channel's next offset, durable, dense, rated, hinted and owed to webhooks as an
       append is. A second record with the same (channel, author, key) within 24 h returns the event of the first, with
       `duplicate`; a record and a message may have the same key.
    2. `page` gives events by offset, of one name or of all, both bounds exclusive: the newest `limit` below `before`;
       or, with `after` alone, the oldest `limit` above `after`; with both, the newest between them; with neither, the
       newest. Its cost does not grow with the messages between them.
    3. An event of an application is neither a message nor unread, and goes at the end of retention.
    4. `Unavailable`, `Overloaded`, `RateLimited` as for an append.
    """

    def record(self, record: Record) -> Awaitable[Recorded]:
        """Write the event. Promises 1, 4."""
        ...

    async def page(
        self, channel: ChannelName, name: str | None, before: int | None, after: int | None, limit: int
    ) -> RecordPage:
        """Return a page of events. Promises 2-4."""
        ...
