"""Circuit breakers: when nobody is asked, and how it ends."""

import pytest

from server.domain.circuits import MIN_CALLS, OPEN_S, WINDOW_S, Circuit


def run(circuit: Circuit, now: float, *, failures: int = 0, successes: int = 0) -> None:
    """Let calls succeed, then fail, at a moment."""
    for outcome in [circuit.succeeded] * successes + [circuit.failed] * failures:
        era = circuit.begin(now)
        assert era is not None
        outcome(era, now)


@pytest.mark.parametrize(
    ("successes", "failures", "opens"),
    [(0, 19, False), (0, 20, True), (10, 10, True), (11, 9, False), (12, 10, False), (100, 100, True), (11, 10, False)],
)
def test_it_opens_at_half_of_enough_calls(successes: int, failures: int, opens: bool) -> None:
    """At least 20 calls, of which at least half failed."""
    circuit = Circuit()
    run(circuit, 100.0, successes=successes, failures=failures)
    assert circuit.is_open == opens


def test_old_calls_do_not_count() -> None:
    """A window of ten seconds slides."""
    circuit = Circuit()
    for second in range(5 * WINDOW_S):
        run(circuit, float(second), failures=1)
    assert not circuit.is_open
    run(circuit, 5.0 * WINDOW_S, failures=MIN_CALLS - WINDOW_S + 1)
    assert circuit.is_open


def opened(now: float = 100.0) -> Circuit:
    """A circuit that has just opened."""
    circuit = Circuit()
    run(circuit, now, failures=MIN_CALLS)
    assert circuit.is_open
    return circuit


def test_nobody_is_called_while_it_is_open() -> None:
    """For five seconds; then once."""
    circuit = opened(100.0)
    assert circuit.begin(100.0) is None
    assert circuit.begin(100.0 + OPEN_S - 0.01) is None
    assert circuit.begin(100.0 + OPEN_S) is not None
    assert circuit.begin(100.0 + OPEN_S) is None


def test_a_probe_that_succeeds_closes_it() -> None:
    """And the failures of before are forgotten."""
    circuit = opened(100.0)
    era = circuit.begin(105.0)
    assert era is not None
    assert circuit.succeeded(era, 105.1)
    run(circuit, 105.2, failures=MIN_CALLS - 1)
    assert not circuit.is_open


def test_a_probe_that_fails_keeps_it_open() -> None:
    """As long again."""
    circuit = opened(100.0)
    era = circuit.begin(105.0)
    assert era is not None
    assert not circuit.failed(era, 106.0)
    assert circuit.begin(106.0 + OPEN_S - 0.01) is None
    assert circuit.begin(106.0 + OPEN_S) is not None


def test_a_probe_that_is_given_up_makes_room_for_another() -> None:
    """It has told nothing."""
    circuit = opened(100.0)
    era = circuit.begin(105.0)
    assert era is not None
    circuit.gave_up(era)
    assert circuit.begin(105.0) is not None


def test_late_reports_change_nothing() -> None:
    """Calls that began before it opened are no probe."""
    circuit = Circuit()
    early = [circuit.begin(100.0) for _ in range(3)]
    run(circuit, 100.0, failures=MIN_CALLS)
    probe = circuit.begin(105.0)
    assert None not in early
    for late, report in zip(early, (circuit.succeeded, circuit.failed), strict=False):
        assert not report(late or 0, 105.0)
    circuit.gave_up(early[2] or 0)
    assert circuit.is_open
    assert circuit.begin(105.0) is None  # the probe is still under way
    assert circuit.succeeded(probe or 0, 105.5)
