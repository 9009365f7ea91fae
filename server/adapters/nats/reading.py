"""Reads from a channel's fold."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from server.adapters.nats.fold import Fold
from server.domain.events import EventPublished, state_after
from server.domain.messages import Message, MessageId, Tombstone
from server.ports.message_log import Page
from server.ports.records import RecordPage


def message_of(fold: Fold, id: MessageId) -> Message | Tombstone | None:
    """Return the current state of a message."""
    kept = fold.messages.get(id)
    return state_after(kept.present, kept.offset, fold.at(kept.offset)) if kept else None


def page_of(fold: Fold, before: int | None, after: int | None, limit: int) -> Page:
    """Return a page of messages."""
    start, stop, more = _slice(fold.offsets, before, after, limit)
    return Page([fold.messages[id].state for id in fold.ids[start:stop]], fold.head, more)


def records_of(fold: Fold, name: str | None, before: int | None, after: int | None, limit: int) -> RecordPage:
    """Return a page of the events of applications."""
    offsets = fold.records.get(name, ())
    start, stop, more = _slice(offsets, before, after, limit)
    events = [fold.at(offset) for offset in offsets[start:stop]]
    return RecordPage([event for event in events if isinstance(event, EventPublished)], fold.head, more)


def _slice(offsets: Sequence[int], before: int | None, after: int | None, limit: int) -> tuple[int, int, bool]:
    """Return which of the offsets, which ascend, are in a page, and whether some lie beyond it."""
    start = 0 if after is None else bisect_right(offsets, after)
    stop = max(start, len(offsets) if before is None else bisect_left(offsets, before))
    more = stop - start > limit
    if after is not None and before is None:
        return start, min(stop, start + limit), more
    return max(start, stop - limit), stop, more
