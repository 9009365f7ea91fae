"""Goals, and the page that is written from a run."""

from typing import Any

import pytest

from bench.cases import crowd, fanout, profile
from bench.report.goals import judged
from bench.report.page import NOTHING, page
from bench.report.summary import Summary
from bench.runs import Row

ABOUT = {
    "machine": {"processor": "a fast one"},
    "date": "2026-01-31",
    "command": "python -m bench all",
    "seconds": 61.7,
}


def fan(peer: str, number: int, rate: float, **params: Any) -> Row:
    """A fan-out with one message in flight, unless told otherwise."""
    wanted = {"members": 1_000, "in_flight": 1, "size": 64, "channels": 1, "senders": 1} | params
    values = {"deliveries_s": rate, "cpu_us": 1e6 / rate, "load_share": 0.25, "wave_us": 10.0 + 2 * wanted["members"]}
    return Row(fanout.CASE, peer, number, wanted, values)


def verdicts(rows: list[Row]) -> dict[str, list[str]]:
    """The lines of the goals by their names."""
    return {name: rest for name, *rest in judged(Summary(rows)).lines}


def test_a_goal_over_a_peer_is_judged_by_the_median_of_the_rounds() -> None:
    """One round below the bound does not miss it."""
    rows = [fan("maru", number, rate) for number, rate in enumerate((140, 200, 100))]
    rows += [fan("node", number, 100) for number in range(3)]
    assert verdicts(rows) == {"1 in flight: times Node": ["at least 1.30", "1.40 (1.00..2.00)", "yes"]}


def test_a_goal_that_is_missed_says_so() -> None:
    """Loudly."""
    rows = [fan("maru", 0, 120), fan("node", 0, 100)]
    assert verdicts(rows)["1 in flight: times Node"] == ["at least 1.30", "1.20", "NO"]


def test_a_goal_may_be_the_most_of_something() -> None:
    """And may compare with another figure of a peer."""
    rows = [
        Row(crowd.CASE, "maru", 0, {"clients": 5_000}, {"kib": 9.0, "joined_s": 3_000.0}),
        Row(crowd.CASE, "node", 0, {"clients": 5_000}, {"plain_s": 1_500.0, "joined_s": 100.0}),
    ]
    found = verdicts(rows)
    assert found["KiB a connection, uvloop"] == ["at most 8.00", "9.00", "NO"]
    assert found["the same, times Node's plain ones"] == ["at least 1.50", "2.00", "yes"]


def test_what_was_not_measured_has_no_verdict() -> None:
    """Neither reached nor missed."""
    assert verdicts([]) == {}


def test_a_page_without_figures_says_so_everywhere() -> None:
    """No placeholder is left, and nothing is made up."""
    written = page(Summary([]), ABOUT, ())
    assert "$" not in written
    assert written.count(NOTHING) == 13
    assert "2026-01-31, `python -m bench all`, 62 s" in written


@pytest.mark.parametrize(
    "expected",
    ["50 % of the bare loop's deliveries", "at most 25 % of its core", "- fanout, nchan: no nginx", "| 40.0 |"],
)
def test_a_page_tells_what_was_found(expected: str) -> None:
    """Shares of the bare loop, the load's part, the profile, and what is missing."""
    rows = [fan(peer, number, rate) for peer, rate in (("maru", 50.0), ("bare", 100.0)) for number in range(2)]
    rows.append(Row(fanout.CASE, "nchan", 0, {"members": 1_000, "in_flight": 1}, {}, "no nginx"))
    rows.append(Row(profile.CASE, "maru", 0, {"kind": "native", "in_flight": 1}, {"kernel: tcp_ack": 0.4}))
    assert expected in page(Summary(rows), ABOUT, ("fanout",))


def test_a_cost_that_grows_is_told_as_a_line() -> None:
    """So much a message, and so much a member."""
    rows = [
        Row(fanout.MEMBERS, "maru", 0, {"members": count}, {"wave_us": 300.0 + 7 * count}) for count in (1, 10, 1_000)
    ]
    assert "at maru 300 µs and 7.0 µs a member" in page(Summary(rows), ABOUT, ("fanout",))


def test_only_charts_that_were_drawn_are_shown() -> None:
    """No link points nowhere."""
    written = page(Summary([]), ABOUT, ("fanout",))
    assert written.count(".png") == 1
    assert "(performance/fanout.png)" in written
