"""Tells when everything that waited in an outbox at a certain moment has been written, whatever has come since."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(slots=True)
class Place:
    """A place in the lines of an outbox, as numbers of clients taken out of each line since the process began."""

    direct: int
    fan_out: int

    def is_reached(self, done: "Place") -> bool:
        """Say whether every client that stood before this place has been written to."""
        return self.direct <= done.direct and self.fan_out <= done.fan_out


class Waits:
    """Calls that are to be made when what waited at the moment of the wait has been written.

    Both lines are worked off in their order, so the places of later waits are never before those of earlier waits.
    """

    def __init__(self) -> None:
        self._placed: deque[tuple[Place, Callable[[], None]]] = deque()
        self.for_batch: list[Callable[[], None]] = []  # the batch before them is open: its clients are in no line yet

    def add(self, call: Callable[[], None], place: Place | None) -> None:
        """Make a call when a place is reached; None is the end of the batch that is open."""
        if place is None:
            self.for_batch.append(call)
        else:
            self._placed.append((place, call))

    def batch_ended(self, place: Place) -> None:
        """Take the place behind the batch that was open until now."""
        calls, self.for_batch = self.for_batch, []
        self._placed.extend((place, call) for call in calls)

    def make_calls(self, done: Place) -> None:
        """Make the calls whose place is reached."""
        while self._placed and self._placed[0][0].is_reached(done):
            self._placed.popleft()[1]()


def finish(future: "asyncio.Future[None]") -> None:
    """End the wait for a future; the task that waits may have been cancelled."""
    if not future.done():
        future.set_result(None)
