"""Percentiles from a bounded histogram."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.latency import BUCKETS, GROWTH, Latencies

seconds = st.floats(2e-6, 300.0)


def gathered(values: list[float]) -> Latencies:
    """All of them counted."""
    latencies = Latencies()
    for value in values:
        latencies.add(value)
    return latencies


@given(st.lists(seconds, min_size=1, max_size=200), st.sampled_from([0.01, 0.5, 0.99, 1.0]))
def test_a_percentile_is_right_within_a_bucket(values: list[float], share: float) -> None:
    """As a sorted list would say it, and not below."""
    exact = sorted(values)[max(0, -int(-share * len(values) // 1) - 1)]
    assert exact / 1.000001 <= gathered(values).percentile(share) <= exact * GROWTH * 1.000001


@given(st.lists(seconds), st.lists(seconds))
def test_parts_add_up_to_the_whole(some: list[float], others: list[float]) -> None:
    """Also where one part was counted in another process."""
    whole = gathered(some)
    whole.merge(Latencies(gathered(others).counts))
    assert whole.counts == gathered(some + others).counts
    assert whole.count == len(some) + len(others)


@pytest.mark.parametrize(("value", "bucket"), [(0.0, 0), (-1.0, 0), (1e9, BUCKETS - 1)])
def test_what_is_out_of_range_counts_at_its_end(value: float, bucket: int) -> None:
    """Nothing is dropped."""
    assert gathered([value]).counts[bucket] == 1


def test_nothing_takes_no_time() -> None:
    """Without any there is no percentile."""
    assert Latencies().percentile(0.5) == 0.0
