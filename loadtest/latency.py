"""How long things took, in bounded memory: a histogram of logarithmic buckets that processes can add up."""

import math
from collections.abc import Iterable

LEAST_S = 1e-6
GROWTH = 1.02
"""The ratio of two neighbouring buckets: a percentile is right within 2 %."""

BUCKETS = 1_000
"""Up to 1e-6 s * 1.02 ** 1000, about 400 s. A longer time counts in the last bucket."""

_LOG_GROWTH = math.log(GROWTH)


class Latencies:
    """Counts of durations, in seconds."""

    __slots__ = ("_counts",)

    def __init__(self, counts: Iterable[int] = ()) -> None:
        self._counts = [*counts] or [0] * BUCKETS

    def add(self, seconds: float) -> None:
        """Count a time. A time below a microsecond counts as a microsecond."""
        bucket = int(math.log(seconds / LEAST_S) / _LOG_GROWTH) if seconds > LEAST_S else 0
        self._counts[min(bucket, BUCKETS - 1)] += 1

    def merge(self, other: "Latencies") -> None:
        """Add another's counts."""
        self._counts = [mine + theirs for mine, theirs in zip(self._counts, other.counts, strict=True)]

    @property
    def counts(self) -> list[int]:
        """The buckets, so that another process can take them over."""
        return self._counts

    @property
    def count(self) -> int:
        """How many."""
        return sum(self._counts)

    def percentile(self, share: float) -> float:
        """The duration that a share (0 to 1) of all stayed within, in seconds: a bucket's upper end; 0 without any."""
        wanted = share * self.count
        passed = 0
        for bucket, count in enumerate(self._counts):
            passed += count
            if count and passed >= wanted:
                return float(LEAST_S * GROWTH ** (bucket + 1))
        return 0.0
