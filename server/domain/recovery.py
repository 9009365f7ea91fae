"""Whether a client that comes back can be given every event that it missed."""

import json
from collections.abc import Sequence
from enum import StrEnum
from typing import TypeVar

from server.domain.messages import Message, Position, Tombstone
from server.domain.rings import EncodedEvent

REPLAY_LIMIT = 1_000
"""Events that are replayed in a channel, at most. Reading history is cheaper for a client that is further behind."""

REPLAY_BYTES = 768 * 1024
"""Bytes of JSON in a replay or page, approximately: three quarters of the bound for a slow reader. 1,000 messages of
300 characters fit."""

ALWAYS_FITS = 15
"""Replays of up to this many messages are not measured: they fit in any case. The largest message has 4,000 characters
(24 KB, if JSON escapes all of them) and 8 KB of data."""

_ENVELOPE_BYTES = 450
"""Bytes of a message in JSON without its text and data."""

_NAME_BYTES = len('"event":"message:created",,')
"""Bytes of an event in a replay beside its body: its name, and the comma behind it."""

Item = TypeVar("Item", bound=EncodedEvent | Message | Tombstone)


class NotResumable(StrEnum):
    """Why a position can't be resumed from."""

    EPOCH_CHANGED = "epoch_changed"
    EXPIRED = "expired"
    TOO_FAR_BEHIND = "too_far_behind"
    AHEAD_OF_LOG = "ahead_of_log"


def json_size(item: EncodedEvent | Message | Tombstone) -> int:
    """Return how many bytes of JSON the item takes: of an event exactly, of a message approximately."""
    if isinstance(item, EncodedEvent):
        return _NAME_BYTES + len(item.json)
    if isinstance(item, Tombstone):
        return _ENVELOPE_BYTES
    data = 0 if item.data is None else len(json.dumps(item.data, ensure_ascii=False).encode())
    return _ENVELOPE_BYTES + len(json.dumps(item.text, ensure_ascii=False).encode()) + data


def newest_within(items: Sequence[Item], budget: int = REPLAY_BYTES) -> Sequence[Item]:
    """Return as many of the last items as fit into the budget."""
    if len(items) <= ALWAYS_FITS:
        return items
    for index in range(len(items) - 1, -1, -1):
        budget -= json_size(items[index])
        if budget < 0:
            return items[index + 1 :]
    return items


def oldest_within(items: Sequence[Item], budget: int = REPLAY_BYTES) -> Sequence[Item]:
    """Return as many of the first items as fit into the budget."""
    return newest_within(items[::-1], budget)[::-1]


def check_resumable(since: Position, floor: int, head: Position, limit: int = REPLAY_LIMIT) -> NotResumable | None:
    """Return why not all events after `since` can be given, or None if they can.

    `floor` is the highest offset that the log no longer keeps, `head` the last position of the log.
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
