"""Whether a client that comes back can be given exactly what it missed."""

import json
from collections.abc import Sequence
from enum import StrEnum
from typing import TypeVar

from server.domain.events import MessageDeleted, MessageEvent
from server.domain.messages import Message, Position, Tombstone

REPLAY_LIMIT = 1_000
"""At most so many events are replayed a channel; a client further behind reads history, which is cheaper for both."""

REPLAY_BYTES = 768 * 1024
"""About so much JSON is given at once, in a replay or a page: three quarters of what may wait for a slow reader. 1,000
messages of 300 characters fit."""

ALWAYS_FITS = 15
"""So few messages are never too much: each has 4,000 characters (24 KB, should JSON escape all of them) and 8 KB of
data at the most."""

_ENVELOPE_BYTES = 450
"""Of a message beside its text and data."""

Item = TypeVar("Item", bound=MessageEvent | Message | Tombstone)


class NotResumable(StrEnum):
    """Why a position can't be resumed from."""

    EPOCH_CHANGED = "epoch_changed"
    EXPIRED = "expired"
    TOO_FAR_BEHIND = "too_far_behind"
    AHEAD_OF_LOG = "ahead_of_log"


def json_size(item: MessageEvent | Message | Tombstone) -> int:
    """About how many bytes of JSON the item takes."""
    if isinstance(item, MessageDeleted | Tombstone):
        return _ENVELOPE_BYTES
    message = item if isinstance(item, Message) else item.message
    data = 0 if message.data is None else len(json.dumps(message.data, ensure_ascii=False).encode())
    return _ENVELOPE_BYTES + len(json.dumps(message.text, ensure_ascii=False).encode()) + data


def newest_within(items: Sequence[Item], budget: int = REPLAY_BYTES) -> Sequence[Item]:
    """As many of the last items as fit into the budget."""
    if len(items) <= ALWAYS_FITS:
        return items
    for index in range(len(items) - 1, -1, -1):
        budget -= json_size(items[index])
        if budget < 0:
            return items[index + 1 :]
    return items


def oldest_within(items: Sequence[Item], budget: int = REPLAY_BYTES) -> Sequence[Item]:
    """As many of the first items as fit into the budget."""
    return newest_within(items[::-1], budget)[::-1]


def check_resumable(since: Position, floor: int, head: Position, limit: int = REPLAY_LIMIT) -> NotResumable | None:
    """Return why the events after `since` can't be given whole, or None where they can.

    `floor` is the highest offset that the log no longer keeps, `head` its last position.
    """
    if since.epoch != head.epoch:
        return NotResumable.EPOCH_CHANGED
    if since.offset > head.offset:
        return NotResumable.AHEAD_OF_LOG
    if since.offset < floor:
        return NotResumable.EXPIRED
    if head.offset - since.offset > limit:
        return NotResumable.TOO_FAR_BEHIND
    return None
