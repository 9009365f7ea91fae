"""Medians, percentiles, ratios."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.stats import Spread, percentile, ratios, slope, spread


def test_a_spread_has_the_median_and_the_ends() -> None:
    """An outlier moves an end and not the median."""
    assert spread([3.0, 1.0, 100.0]) == Spread(3.0, 1.0, 100.0, 3)


def test_nothing_has_no_spread() -> None:
    """No runs are an error, and not zero."""
    with pytest.raises(ValueError, match="no runs"):
        spread([])
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.5)


@pytest.mark.parametrize(
    ("share", "expected"), [(0.0, 1), (0.01, 1), (0.5, 50), (0.501, 51), (0.99, 99), (0.999, 100), (1.0, 100)]
)
def test_a_percentile_is_the_nearest_rank(share: float, expected: int) -> None:
    """It is one of the values, never between two."""
    assert percentile(list(range(1, 101)), share) == expected


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0, 1))
def test_enough_values_are_within_a_percentile(values: list[float], share: float) -> None:
    """At least the asked share of all values does not exceed it."""
    found = percentile(sorted(values), share)
    assert sum(value <= found for value in values) >= share * len(values)


def test_ratios_are_paired_by_round() -> None:
    """What slowed a round slowed both of its pair."""
    assert ratios([10.0, 1.0, 8.0], [5.0, 0.5]) == [2.0, 2.0]


def test_a_peer_that_did_nothing_has_no_ratio() -> None:
    """A round without a figure is left out."""
    assert ratios([10.0, 6.0], [0.0, 3.0]) == [2.0]


def test_the_slope_of_a_straight_line_is_its_own() -> None:
    """Rise and start are found."""
    assert slope([1.0, 10.0, 100.0], [7.0, 25.0, 205.0]) == pytest.approx((2.0, 5.0))
