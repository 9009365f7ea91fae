"""Who has which message already, so that a sender can keep so many in flight: pure, and quick, as each read counts.

Members get the messages in order, so one number each will do.
"""

from collections.abc import Iterable


class Tally:
    """How many messages each member has; `complete` is how many all of them have."""

    def __init__(self, members: Iterable[int]) -> None:
        self.counts = dict.fromkeys(members, 0)
        self.complete = 0
        self.total = 0
        """Deliveries so far."""
        self._lagging = len(self.counts)

    def add(self, member: int, got: int) -> bool:
        """Note what a member got. Returns whether `advance` has something to tell."""
        had = self.counts[member]
        self.counts[member] = had + got
        self.total += got
        if had <= self.complete < had + got:
            self._lagging -= 1
            return not self._lagging
        return False

    def advance(self) -> int:
        """Recount; return how many messages have become complete since the last time."""
        counts = self.counts.values()
        least = min(counts)
        fresh, self.complete = least - self.complete, least
        self._lagging = list(counts).count(least)
        return fresh
