"""Buckets by key: bounded, and forgotten without a trace."""

from hypothesis import given
from hypothesis import strategies as st

from server.domain.buckets import SWEEP_KEYS, Buckets
from server.domain.gcra import Rate, pace

PACE = pace(Rate(per_s=1.0, burst=3))


def test_each_key_has_a_bucket() -> None:
    """Three at once, then the wait."""
    buckets = Buckets[str]()
    assert [buckets.take("a", PACE, 10.0) for _ in range(3)] == [0.0] * 3
    assert 0.999 < buckets.take("a", PACE, 10.0) < 1.001
    assert buckets.take("b", PACE, 10.0) == 0.0
    assert buckets.take("a", PACE, 11.0) == 0.0


def test_the_oldest_makes_room() -> None:
    """However many keys are made up, only so many are kept; those that are kept are still limited."""
    buckets = Buckets[int](max_keys=100)
    for key in range(1_000):
        for _ in range(3):
            buckets.take(key, PACE, 10.0)
        assert len(buckets.earned) <= 100
    assert buckets.take(999, PACE, 10.0) > 0
    assert buckets.take(900, PACE, 10.0) > 0
    assert buckets.take(899, PACE, 10.0) == 0


@given(st.lists(st.tuples(st.floats(0.0, 2.0), st.integers(0, 3)), max_size=80))
def test_a_sweep_changes_no_answer(steps: list[tuple[float, int]]) -> None:
    """Forgetting is exact: with a sweep before each step, every answer is the same."""
    swept, kept = Buckets[int](), Buckets[int]()
    now = 50.0
    for pause, key in steps:
        now += pause
        swept.sweep(now)
        assert swept.take(key, PACE, now) == kept.take(key, PACE, now)


def test_a_sweep_looks_at_some_and_gets_round() -> None:
    """At so many a step; all are looked at in turn, and what is full is gone."""
    buckets = Buckets[int]()
    for key in range(2 * SWEEP_KEYS):
        buckets.take(key, PACE, 10.0 if key % 2 else 50.0)
    buckets.sweep(20.0)
    assert len(buckets.earned) == 2 * SWEEP_KEYS - SWEEP_KEYS // 2
    buckets.sweep(20.0)
    assert len(buckets.earned) == SWEEP_KEYS
    buckets.sweep(100.0)
    assert not buckets.earned


def test_given_back_and_forgotten() -> None:
    """One more may be taken; all may."""
    buckets = Buckets[str]()
    for _ in range(3):
        buckets.take("a", PACE, 10.0)
    buckets.give_back("a", PACE.interval)
    buckets.give_back("unknown", PACE.interval)
    assert [buckets.take("a", PACE, 10.0) == 0 for _ in range(2)] == [True, False]
    buckets.forget("a")
    buckets.forget("unknown")
    assert [buckets.take("a", PACE, 10.0) == 0 for _ in range(4)] == [True, True, True, False]
