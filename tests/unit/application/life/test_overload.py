"""When a replica is busy or hot, when it is calm again, and what it leaves undone."""

from random import Random

import pytest
from structlog.testing import capture_logs

from server.application.life.loop_lag import LOOK_S
from server.application.life.overload import CALM_S, RETRY_MS, WAITING_S, Load, Overload
from server.domain.errors import Overloaded


class Watched:
    """A replica whose loop is looked at as `measure_lag` does, in virtual time."""

    def __init__(self) -> None:
        self.now = 100.0
        self.waiting = 0.0
        self.overload = Overload(lambda: self.waiting, Random(1))
        self.overload.look(0.0, self.now)

    def look(self, lag_s: float) -> Load:
        self.now += LOOK_S + lag_s
        self.overload.look(lag_s, self.now)
        return self.overload.load

    def lag(self, lag_s: float, seconds: float) -> Load:
        """Let each look be so late, for at least so long."""
        ends = self.now + seconds
        while self.now < ends:
            self.look(lag_s)
        return self.overload.load

    def until(self, load: Load, lag_s: float) -> float:
        """Let each look be so late until the state is reached; return the time that this took."""
        began = self.now
        while self.overload.load is not load:
            self.look(lag_s)
            assert self.now - began < 60
        return self.now - began


@pytest.mark.parametrize("lag_s", [0.151, 0.2, 0.3, 0.4, 0.5])
def test_busy_within_a_second_and_a_half(lag_s: float) -> None:
    """Whatever the lag is, if it is over 150 ms in every look."""
    took = Watched().until(Load.BUSY, lag_s)
    assert 1.0 <= took < 1.501


@pytest.mark.parametrize(
    ("lag_s", "load"), [(0.15, Load.CALM), (0.151, Load.BUSY), (0.5, Load.BUSY), (0.501, Load.HOT)]
)
def test_the_thresholds(lag_s: float, load: Load) -> None:
    """More than 150 ms is busy, more than 500 ms is hot."""
    assert Watched().lag(lag_s, 10.0) is load


def test_hot_takes_two_seconds() -> None:
    """Busy comes before."""
    watched = Watched()
    assert watched.until(Load.BUSY, 0.6) < watched.until(Load.HOT, 0.6) + 1.5 <= 4.0


def test_a_single_pause_is_no_load() -> None:
    """A suspended machine, a full collection: the next look is in time."""
    watched = Watched()
    assert watched.look(30.0) is Load.CALM
    assert watched.look(0.0) is Load.CALM


def test_late_looks_that_are_not_in_a_row_are_no_load() -> None:
    """Each look in time begins the second anew."""
    watched = Watched()
    for _ in range(50):
        assert watched.look(0.4) is Load.CALM
        assert watched.look(0.1) is Load.CALM


def test_calm_after_five_good_seconds() -> None:
    """Under 75 ms; a look over it begins the five seconds anew."""
    watched = Watched()
    watched.lag(0.3, 3.0)
    assert watched.lag(0.074, CALM_S - 0.3) is Load.BUSY
    assert watched.look(0.075) is Load.BUSY
    assert watched.lag(0.0, CALM_S - 0.2) is Load.BUSY
    assert watched.lag(0.0, 0.5) is Load.CALM


def test_hot_becomes_busy_if_it_is_only_less_late() -> None:
    """Under 250 ms for five seconds; busy asks for less."""
    watched = Watched()
    watched.lag(0.7, 5.0)
    assert watched.lag(0.25, 2 * CALM_S) is Load.HOT
    assert watched.lag(0.2, 2 * CALM_S) is Load.BUSY
    assert watched.lag(0.0, CALM_S + 1) is Load.CALM


def test_hot_becomes_calm_at_once_if_all_is_well() -> None:
    """Both states are left after the same five seconds."""
    watched = Watched()
    watched.lag(0.7, 5.0)
    with capture_logs() as lines:
        watched.lag(0.0, CALM_S + 1)
    assert [(line["event"], line["load"], line["log_level"]) for line in lines] == [
        ("overload.changed", "calm", "info")
    ]


@pytest.mark.parametrize(("waiting", "load"), [(0.5, Load.CALM), (0.51, Load.BUSY), (0.8, Load.BUSY), (0.81, Load.HOT)])
def test_what_waits_for_slow_readers_counts_after_a_while(waiting: float, load: Load) -> None:
    """Over half of the bound is busy, over four fifths is hot; not for those that stand still, who are dropped soon."""
    watched = Watched()
    watched.waiting = waiting
    assert watched.lag(0.0, WAITING_S - LOOK_S) is Load.CALM
    assert watched.lag(0.0, 3 * LOOK_S) is load


def test_much_that_waits_for_a_moment_is_no_load() -> None:
    """Each look at less begins the time anew."""
    watched = Watched()
    for _ in range(5):
        watched.waiting = 0.9
        watched.lag(0.0, WAITING_S - 2 * LOOK_S)
        watched.waiting = 0.3
        assert watched.look(0.0) is Load.CALM


def test_bytes_that_still_wait_keep_the_state() -> None:
    """It is left five seconds after they are clearly fewer."""
    watched = Watched()
    watched.waiting = 0.9
    watched.lag(0.0, WAITING_S + 1)
    watched.waiting = 0.71
    assert watched.lag(0.0, 2 * CALM_S) is Load.HOT
    watched.waiting = 0.41
    assert watched.lag(0.0, 2 * CALM_S) is Load.BUSY
    watched.waiting = 0.4
    assert watched.lag(0.0, CALM_S + 1) is Load.CALM


def test_a_line_for_each_change_only() -> None:
    """With the lag and the part that waits."""
    watched = Watched()
    with capture_logs() as lines:
        watched.lag(0.3, 20.0)
        watched.lag(0.0, 20.0)
    assert [line["load"] for line in lines] == ["busy", "calm"]
    assert lines[0] == {
        "event": "overload.changed",
        "load": "busy",
        "lag_ms": 300,
        "waiting": 0.0,
        "log_level": "warning",
    }


def test_handshakes_are_left_undone_first() -> None:
    """Reads are given while the replica is busy."""
    watched = Watched()
    refused = [watched.overload.refuses_handshakes]
    for lag_s in (0.3, 0.7):
        watched.overload.check_read()
        watched.lag(lag_s, 5.0)
        refused.append(watched.overload.refuses_handshakes)
    assert refused == [False, True, True]


def test_reads_are_told_when_to_come_back() -> None:
    """Not all at the same time."""
    watched = Watched()
    watched.lag(0.7, 5.0)
    told = []
    for _ in range(200):
        with pytest.raises(Overloaded) as refused:
            watched.overload.check_read()
        told.append(refused.value.retry_after_ms or 0)
    assert RETRY_MS[0] <= min(told) < max(told) <= RETRY_MS[1]
    assert len(set(told)) > 100
