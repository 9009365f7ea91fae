"""Whether a client that comes back can be given exactly what it missed."""

from enum import StrEnum

from server.domain.messages import Position

REPLAY_LIMIT = 1_000
"""At most so many events are replayed a channel; a client further behind reads history, which is cheaper for both."""


class Lapse(StrEnum):
    """Why a position can't be resumed from."""

    EPOCH_CHANGED = "epoch_changed"
    EXPIRED = "expired"
    TOO_FAR_BEHIND = "too_far_behind"
    AHEAD_OF_LOG = "ahead_of_log"


def lapse(since: Position, floor: int, head: Position, limit: int = REPLAY_LIMIT) -> Lapse | None:
    """Return why the events after `since` can't be given whole, or None where they can.

    `floor` is the highest offset that the log no longer keeps, `head` its last position.
    """
    if since.epoch != head.epoch:
        return Lapse.EPOCH_CHANGED
    if since.offset > head.offset:
        return Lapse.AHEAD_OF_LOG
    if since.offset < floor:
        return Lapse.EXPIRED
    if head.offset - since.offset > limit:
        return Lapse.TOO_FAR_BEHIND
    return None
