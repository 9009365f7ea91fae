"""Rates: how much may happen in a time, by the generic cell rate algorithm (ITU-T I.371).

A bucket is a single number: the time at which everything that was taken from it will have been earned. Pure: the caller
keeps the number, and knows the time.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rate:
    """So many at once, and so many a second after them."""

    per_s: float
    burst: int


def take(earned: float, rate: Rate, now: float) -> tuple[float, float]:
    """Take one from a bucket. Return the bucket's new number, and the seconds until one can be taken: 0 if one was.

    `earned` is the bucket's number, 0.0 for a full bucket; `now` is in seconds on a clock that never goes back. If
    nothing was taken, the number stays, and waiting the returned time always suffices.
    """
    interval = 1.0 / rate.per_s
    earned_then = max(earned, now) + interval
    wait = earned_then - rate.burst * interval - now
    # Less than a billionth of the interval is the error of the arithmetic.
    return (earned_then, 0.0) if wait <= interval * 1e-9 else (earned, wait)
