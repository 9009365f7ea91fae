"""Joins that a backend has accepted for a while, so that it need not be asked again."""

from server.domain.channels import ChannelName
from server.domain.identity import UserId

REMEMBERED = 50_000
"""Accepted joins that are kept (about 10 MiB); the oldest is forgotten, and asked about again."""


class AcceptedJoins:
    """Accepted joins by user and channel, on this replica. `now` is monotonic, in seconds."""

    def __init__(self) -> None:
        self._until: dict[tuple[UserId, ChannelName], float] = {}  # in the order in which they were kept
        self.forgotten = 0  # how often something was forgotten on purpose

    def __len__(self) -> int:
        """Return how many are kept."""
        return len(self._until)

    def holds(self, user: UserId, channel: ChannelName, now: float) -> bool:
        """Say whether the join is accepted at this moment."""
        until = self._until.get((user, channel))
        if until is None:
            return False
        if until <= now:
            del self._until[user, channel]
            return False
        return True

    def keep(self, user: UserId, channel: ChannelName, until: float) -> None:
        """Keep an accepted join."""
        self._until.pop((user, channel), None)
        if len(self._until) >= REMEMBERED:
            del self._until[next(iter(self._until))]
        self._until[user, channel] = until

    def forget(self, user: UserId, channel: ChannelName) -> None:
        """Forget an accepted join, also one whose answer is on its way: the user has been removed."""
        self.forgotten += 1
        self._until.pop((user, channel), None)

    def clear(self) -> None:
        """Forget all: removals may have been missed."""
        self.forgotten += 1
        self._until.clear()
