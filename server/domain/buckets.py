"""A bucket for each of many keys: users, addresses, channels. A bucket that is full again is forgotten."""

from collections.abc import Hashable
from itertools import islice
from typing import Generic, TypeVar

from server.domain.gcra import Pace, take

MAX_KEYS = 200_000
"""Keys of a limiter (some 30 MiB). Over this number the oldest is forgotten, as if its bucket were full."""

SWEEP_KEYS = 1_000
"""Keys that a step of the sweep looks at, in less than 1 ms."""

Key = TypeVar("Key", bound=Hashable)


class Buckets(Generic[Key]):
    """Buckets by key. Times are in seconds on a clock that never goes back; the caller knows them.

    `earned` has the numbers (`server.domain.gcra`) of the buckets that may not be full, the oldest first. A caller in a
    hurry reads and changes those that are there by itself.
    """

    def __init__(self, max_keys: int = MAX_KEYS) -> None:
        self.earned: dict[Key, float] = {}
        self._max_keys = max_keys

    def take(self, key: Key, paced: Pace, now: float) -> float:
        """Take a token. Return 0 or, if there is none, the seconds to wait for it."""
        self.earned[key], wait = take(self.add(key), paced, now)
        return wait

    def add(self, key: Key) -> float:
        """Return the number of a bucket; if there is none yet, that of a full bucket, which is kept from now on."""
        earned = self.earned.setdefault(key, 0.0)
        if len(self.earned) > self._max_keys:
            del self.earned[next(iter(self.earned))]
        return earned

    def give_back(self, key: Key, interval: float) -> None:
        """Undo a `take` within its pace's interval: until then the bucket has not been full."""
        if key in self.earned:
            self.earned[key] -= interval

    def forget(self, key: Key) -> None:
        """Take a bucket to be full."""
        self.earned.pop(key, None)

    def sweep(self, now: float) -> None:
        """Look at some buckets: forget those that are full, put the others behind those that were not looked at."""
        for key in list(islice(self.earned, SWEEP_KEYS)):
            earned = self.earned.pop(key)
            if earned > now:
                self.earned[key] = earned
