"""Whether a client that comes back can be given every event that it missed."""

import json
from collections.abc import Sequence
from enum import StrEnum
from typing import TypeVar

from server.domain.events import EventPublished, ReactionChanged
from server.domain.identity import UserId
from server.domain.messages import Message, Position, Tombstone
from server.domain.reactions import Reactions
from server.domain.rings import EncodedEvent

REPLAY_LIMIT = 1_000
"""Events that are replayed in a channel, at most. Reading history is cheaper for a client that is further behind."""

REPLAY_BYTES = 768 * 1024
"""Bytes of JSON in a replay or page, approximately: three quarters of the bound for a slow reader. 1,000 messages of
300 characters fit."""

ALWAYS_FITS = 4
"""Replays of up to this many messages are not measured: they fit in any case. The largest message has 4,000 characters
(24 KB, if JSON escapes all of them), 8 KB of data, 50 mentions (26 KB), and 20 emojis with 10 users each (106 KB)."""

_ENVELOPE_BYTES = 450
"""Bytes of a message in JSON without its text and data."""

_NAME_BYTES = len('"event":"message:created",,')
"""Bytes of an event in a replay beside its body: its name, and the comma behind it."""

_USER_BYTES = len('"",')
"""Bytes of a user in JSON beside the id."""

_EMOJI_BYTES = len('"":{"count":5000,"users":[]},')
"""Bytes of an emoji in JSON beside itself and its users."""

Item = TypeVar("Item", bound=EncodedEvent | Message | Tombstone | EventPublished)


class NotResumable(StrEnum):
    """Why a position can't be resumed from."""

    EPOCH_CHANGED = "epoch_changed"
    EXPIRED = "expired"
    TOO_FAR_BEHIND = "too_far_behind"
    AHEAD_OF_LOG = "ahead_of_log"


def json_size(item: EncodedEvent | Message | Tombstone | EventPublished | ReactionChanged) -> int:
    """Return how many bytes of JSON the item takes: of an encoded event exactly, else approximately."""
    match item:
        case EncodedEvent():
            return _NAME_BYTES + len(item.json)
        case Tombstone():
            return _ENVELOPE_BYTES
        case EventPublished():
            return _ENVELOPE_BYTES + _bytes(item.data)
        case ReactionChanged():
            return _ENVELOPE_BYTES + _reactions_size(item.reactions)
        case _:
            return _message_size(item)


def _message_size(message: Message) -> int:
    size = _ENVELOPE_BYTES + _bytes(message.text)
    if message.data is not None:
        size += _bytes(message.data)
    if message.mentions:
        size += _users_size(message.mentions)
    return size + _reactions_size(message.reactions) if message.reactions else size


def _bytes(value: object) -> int:
    return len(json.dumps(value, ensure_ascii=False).encode())


def _reactions_size(reactions: Reactions) -> int:
    return sum(_EMOJI_BYTES + len(each.emoji.encode()) + _users_size(each.users) for each in reactions)


def _users_size(users: Sequence[UserId]) -> int:
    return sum(_USER_BYTES + len(user.encode()) for user in users)


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
