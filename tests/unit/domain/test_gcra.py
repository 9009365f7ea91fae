"""Rates: a burst, then a steady pace, and an exact wait."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.domain.gcra import Rate, pace, take, wait_s, whole_ms

PACE = pace(Rate(per_s=2.0, burst=3))


def test_a_burst_then_the_pace() -> None:
    """Three at once, and then one each half second."""
    earned = 0.0
    for _ in range(3):
        earned, wait = take(earned, PACE, 100.0)
        assert wait == 0.0
    unchanged, wait = take(earned, PACE, 100.0)
    assert unchanged == earned
    assert wait == pytest.approx(0.5)
    earned, wait = take(earned, PACE, 100.5)
    assert wait == 0.0
    assert take(earned, PACE, 100.75)[1] == pytest.approx(0.25)


def test_a_pause_fills_the_bucket_and_no_more() -> None:
    """After a long pause, three at once again."""
    earned = 0.0
    taken = 0
    for now in [0.0] * 10 + [1_000.0] * 10:
        earned, wait = take(earned, PACE, now)
        taken += wait == 0.0
    assert taken == 6


@given(
    st.lists(st.floats(0.0, 3.0), max_size=60),
    st.sampled_from([Rate(0.1, 1), Rate(1.0, 5), Rate(20.0, 600)]),
)
def test_the_wait_suffices_and_the_rate_holds(pauses: list[float], rate: Rate) -> None:
    """Whoever waits as told may take; nobody takes more than the burst and the rate allow."""
    now, earned, taken, paced = 50.0, 0.0, 0, pace(rate)
    for pause in pauses:
        now += pause
        earned, wait = take(earned, paced, now)
        if wait:
            assert wait_s(earned, paced, now) == wait
            assert wait_s(earned, paced, now + whole_ms(wait) / 1_000 - 0.011)
            now += wait
            earned, wait = take(earned, paced, now)
            assert wait == 0.0
        taken += 1
    assert taken <= rate.burst + (now - 50.0) * rate.per_s + 1e-6


@pytest.mark.parametrize(("wait", "ms"), [(1e-12, 1), (0.001, 1), (0.0011, 2), (0.0999, 100), (12.3456, 12_346)])
def test_whole_milliseconds(wait: float, ms: int) -> None:
    """Rounded up, and never 0: so many always suffice."""
    assert whole_ms(wait) == ms
