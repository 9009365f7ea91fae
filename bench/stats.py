"""Medians, spread and percentiles of what was measured: pure."""

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple


class Spread(NamedTuple):
    """Several runs of one thing: the middle one, the least, the most, and how many there were."""

    median: float
    least: float
    most: float
    runs: int


def spread(values: Sequence[float]) -> Spread:
    """Sum up at least one run. Raises `ValueError` for none."""
    if not values:
        raise ValueError("no runs to sum up")
    return Spread(statistics.median(values), min(values), max(values), len(values))


def percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` (0 to 1) of them do not exceed: nearest rank. `ordered` is sorted.

    Raises `ValueError` for none.
    """
    if not ordered:
        raise ValueError("no values to rank")
    rank = math.ceil(share * len(ordered))
    return ordered[min(max(rank, 1), len(ordered)) - 1]


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Return the ratio of ours to theirs for each round. Rounds alternate, so a slow machine slows both of a pair.

    If one side has fewer rounds the surplus is left out; a round in which a peer did nothing has no ratio.
    """
    return [our / their for our, their in zip(ours, theirs, strict=False) if their > 0]


def slope(xs: Sequence[float], ys: Sequence[float]) -> tuple[float, float]:
    """The straight line through the points by least squares: (rise, start). Raises `StatisticsError` below two."""
    rise, start = statistics.linear_regression(xs, ys)
    return rise, start
