"""Rates: how much may happen in a time, by the generic cell rate algorithm (ITU-T I.371).

A bucket is a single number: the time at which everything that was taken from it will have been earned. Pure: the caller
keeps the number, and knows the time.
"""

from dataclasses import dataclass
from math import ceil, inf

from server.domain.values import value


@dataclass(frozen=True, slots=True)
class Rate:
    """So many at once, and so many a second after them."""

    per_s: float
    burst: int


@value
class Pace:
    """A rate, prepared for look-ups. `interval` is the time in which a token is earned. A token can be taken if the
    bucket's number is then at most `room` away. Both in seconds."""

    interval: float
    room: float


UNLIMITED = Pace(0.0, inf)
"""The pace of a bucket that limits nothing."""

_ERROR = 1e-9
"""The error of the arithmetic is less than this part of an interval."""


def pace(rate: Rate) -> Pace:
    """Prepare a rate."""
    interval = 1.0 / rate.per_s
    return Pace(interval, (rate.burst + _ERROR) * interval)


def take(earned: float, paced: Pace, now: float) -> tuple[float, float]:
    """Take a token from a bucket. Return the bucket's new number, and the seconds to wait for a token: 0 if it was
    taken.

    `earned` is the bucket's number, 0.0 for a full bucket; `now` is in seconds on a clock that never goes back. If
    nothing was taken, the number stays, and waiting the returned time always suffices.
    """
    wait = wait_s(earned, paced, now)
    return (earned, wait) if wait else (max(earned, now) + paced.interval, 0.0)


def wait_s(earned: float, paced: Pace, now: float) -> float:
    """Return the seconds to wait for a token of a bucket, 0 if it has a token now."""
    wait = max(earned, now) + paced.interval - now - paced.room
    return wait + _ERROR * paced.interval if wait > 0 else 0.0


def whole_ms(wait: float) -> int:
    """Return a time in seconds as whole milliseconds, rounded up and at least 1: so many always suffice."""
    return max(1, ceil(wait * 1_000))
