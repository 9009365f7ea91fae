"""The token bucket: what comes in, at what rate, and what those are told who do not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.gateway.websocket.admission import RETRY_AFTER_CAP_S, Admission


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """Seconds."""
        return self.now


def test_no_rate_is_no_limit() -> None:
    """At rate 0 everybody comes in."""
    admission = Admission(0, 1, Clock())
    assert [admission.wait_s() for _ in range(10_000)] == [0] * 10_000


def test_a_burst_comes_in_at_once_and_then_the_rate() -> None:
    """After a quiet time as many as the burst; from then on, as many as the time since has brought."""
    clock = Clock()
    admission = Admission(10, 5, clock)
    assert [admission.wait_s() == 0 for _ in range(7)] == [True] * 5 + [False] * 2
    clock.now = 0.3
    assert [admission.wait_s() == 0 for _ in range(4)] == [True] * 3 + [False]


def test_a_long_quiet_time_brings_no_more_than_a_burst() -> None:
    """What nobody used is not saved up."""
    clock = Clock()
    admission = Admission(1_000, 3, clock)
    clock.now = 3_600.0
    assert sum(admission.wait_s() == 0 for _ in range(100)) == 3


def test_those_turned_away_are_spread() -> None:
    """Each is told a time when those before it are in, so that they do not all come back together; at most the cap."""
    admission = Admission(10, 1, Clock())
    assert admission.wait_s() == 0
    waits = [admission.wait_s() for _ in range(1_000)]
    assert waits == sorted(waits)
    assert waits[0] == 1
    assert max(waits) == RETRY_AFTER_CAP_S
    assert all(waits.count(wait) <= 10 for wait in range(1, RETRY_AFTER_CAP_S))


@pytest.mark.parametrize(("rate", "count"), [(3, 80), (100, 1_000), (2_000, 20_000)])
def test_who_comes_back_as_told_gets_in(rate: float, count: int) -> None:
    """Of a storm, everybody is in at the second try, as soon as the rate allows."""
    clock = Clock()
    admission = Admission(rate, int(rate), clock)
    told = [wait_s for _ in range(count) if (wait_s := admission.wait_s())]
    assert len(told) == count - rate
    for due in sorted(told):
        clock.now = float(due)
        assert admission.wait_s() == 0
    assert clock.now <= count / rate + 1


def test_a_storm_that_is_over_is_forgotten() -> None:
    """However often clients knocked, whoever comes after a quiet time and is one too many waits no longer than that."""
    clock = Clock()
    admission = Admission(10, 10, clock)
    for _ in range(10_000):
        admission.wait_s()
    clock.now = 1_000.0
    assert [admission.wait_s() for _ in range(11)] == [0] * 10 + [1]


@given(
    st.floats(0.1, 5_000.0),
    st.integers(1, 100),
    st.lists(st.floats(0.0, 10.0), min_size=1, max_size=200),
)
def test_never_more_than_the_bucket_holds(rate: float, burst: int, gaps: list[float]) -> None:
    """However they come: no more get in than the burst and what the rate has brought since; a wait is 1 to 30 s."""
    clock = Clock()
    admission = Admission(rate, burst, clock)
    inside = 0
    for gap in gaps:
        clock.now += gap
        wait_s = admission.wait_s()
        inside += wait_s == 0
        assert 0 <= wait_s <= RETRY_AFTER_CAP_S
        assert inside <= burst + rate * clock.now + 1e-6


KNOWN = "maru_affinity=known"


def is_known(cookie: str) -> bool:
    """Only one cookie is."""
    return cookie == KNOWN


def test_a_share_is_kept_for_known_clients() -> None:
    """Strangers find the bucket empty while those who are known still get in, and are told a longer wait."""
    admission = Admission(10, 10, Clock(), is_known)
    assert [admission.wait_s(lambda: "other=x") == 0 for _ in range(9)] == [True] * 7 + [False] * 2
    assert [admission.wait_s(lambda: KNOWN) == 0 for _ in range(4)] == [True] * 3 + [False]
    assert admission.wait_s() == 1


def test_the_share_is_kept_of_the_burst_and_not_of_the_rate() -> None:
    """While no known client comes, strangers have the whole rate."""
    clock = Clock()
    admission = Admission(10, 10, clock, is_known)
    while not admission.wait_s():
        pass
    inside = 0
    for _ in range(100):
        clock.now += 0.1
        inside += admission.wait_s() == 0
    assert inside > 98


def test_nobody_is_asked_for_a_cookie_in_a_quiet_time() -> None:
    """Only a bucket that is nearly empty makes a cookie worth its check."""
    asked = []

    def ask(cookie: str) -> bool:
        asked.append(cookie)
        return True

    admission = Admission(10, 10, Clock(), ask)
    assert [admission.wait_s(lambda: KNOWN) for _ in range(7)] == [0] * 7
    assert asked == []
    assert admission.wait_s(lambda: KNOWN) == 0
    assert asked == [KNOWN]
