"""The rate at which requests of backends are taken: from a bucket of their key, on this replica."""

from collections.abc import Callable

from server.domain.buckets import Buckets
from server.domain.errors import RateLimited
from server.domain.gcra import pace
from server.domain.rates import Bucket, Rates


class KeyRates:
    """A bucket for each key, by its name; without a rate, none is ever empty. `clock` is monotonic, in seconds."""

    def __init__(self, rates: Rates, clock: Callable[[], float]) -> None:
        rate = rates.get(Bucket.API_KEY)
        self._clock = clock
        self._pace = None if rate is None else pace(rate)
        self._buckets = Buckets[str]()

    def take(self, key: str) -> None:
        """Count a request. Raises `RateLimited`."""
        if self._pace is not None and (wait := self._buckets.take(key, self._pace, self._clock())):
            raise RateLimited.by(Bucket.API_KEY, wait, f"too many requests; the limit is {Bucket.API_KEY}")

    def sweep(self) -> None:
        """Forget some of the buckets that are full."""
        self._buckets.sweep(self._clock())
