"""Erasing all messages of a user, as it is kept: so that a crash neither forgets it nor loses count.

Times are whole milliseconds since the Unix epoch, UTC.
"""

import hashlib
from collections.abc import Sequence

from server.domain.channels import ChannelName
from server.domain.identity import UserId
from server.domain.replicas import ReplicaId
from server.domain.values import value

ID_CHARS = 32
"""Of the id of an erasure."""

SLACK_MS = 60_000
"""Clocks of replicas may differ by so much: messages up to so much after the request are erased, too."""


@value
class Step:
    """Messages that are being deleted: those of the user with offsets above `after`, up to `until`. `planned` of them
    were there when the step began."""

    channel: ChannelName
    after: int
    until: int
    planned: int


@value
class Erasure:
    """The messages of a user are to be erased that were written until `asked_at`.

    `erased` counts the messages of all steps before `step`. A step that was begun is always brought to its end, and
    counts as it was planned: so the count is exact, also if a crash comes between a deletion and its note. `leader` is
    the replica that does the work.
    """

    id: str
    user: UserId
    began_at: int
    asked_at: int
    erased: int = 0
    step: Step | None = None
    leader: ReplicaId | None = None
    done_at: int | None = None

    @property
    def covers_until(self) -> int:
        """The time of the last message to be erased."""
        return self.asked_at + SLACK_MS


def forgettable(kept: Sequence[Erasure], now: int, kept_ms: int, limit: int) -> list[Erasure]:
    """Return the erasures that are to be forgotten before another is kept at this time: those that were done long ago,
    and so many others that are done, the oldest first, that there are fewer than `limit`."""
    done = sorted((each for each in kept if each.done_at is not None), key=lambda each: each.done_at or 0)
    old = sum((each.done_at or 0) < now - kept_ms for each in done)
    return done[: max(old, len(kept) - limit + 1)]


def erasure_id(user: UserId, key: str) -> str:
    """Return the id of the erasure that a request with an idempotency key asks for."""
    return hashlib.sha256(f"{len(user)}:{user}:{key}".encode()).hexdigest()[:ID_CHARS]
