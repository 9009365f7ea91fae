"""Counts the messages that each member has received, so that a sender can keep a number of them in flight.

Pure, and quick: it is called for each read. Members get the messages in order, so a number for each member is enough.
"""

from collections.abc import Iterable


class Seen:
    """The messages that each member has received; `complete` is how many have reached all members."""

    def __init__(self, members: Iterable[int]) -> None:
        self.counts = dict.fromkeys(members, 0)
        self.complete = 0
        self.total = 0
        """Deliveries so far."""
        self._lagging = len(self.counts)

    def add(self, member: int, got: int) -> bool:
        """Count messages of a member. Returns True if further messages have become complete: then call `advance`."""
        had = self.counts[member]
        self.counts[member] = had + got
        self.total += got
        if had <= self.complete < had + got:
            self._lagging -= 1
            return not self._lagging
        return False

    def advance(self) -> int:
        """Recount; return how many messages have become complete since the last call."""
        counts = self.counts.values()
        least = min(counts)
        fresh, self.complete = least - self.complete, least
        self._lagging = list(counts).count(least)
        return fresh
