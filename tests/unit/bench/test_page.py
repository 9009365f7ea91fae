"""Goals, and the page that is written from a run."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from bench import results
from bench.__main__ import told_of
from bench.cases import crowd, fanout, layers, profile, sends
from bench.report.behind import behind
from bench.report.goals import judged
from bench.report.layer_tables import layer_tables
from bench.report.layouts import LAYOUTS
from bench.report.page import NOTHING, page
from bench.report.summary import Summary
from bench.report.tables import tables
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
    """By CPU: one round below the bound does not miss it. The rate stands beside it."""
    rows = [fan("maru", number, rate) for number, rate in enumerate((140, 200, 90))]
    rows += [fan("nchan", number, 100) for number in range(3)]
    assert verdicts(rows) == {
        "1,000 members, 1 in flight: less CPU than nchan, x": [
            "at least 1.00",
            "1.40 (0.90..2.00)",
            "yes",
            "1.40 (0.90..2.00)",
        ]
    }


def test_a_goal_that_is_missed_says_so() -> None:
    """Loudly."""
    rows = [fan("maru", 0, 90), fan("nchan", 0, 100)]
    assert verdicts(rows)["1,000 members, 1 in flight: less CPU than nchan, x"][:3] == ["at least 1.00", "0.90", "NO"]


def test_a_goal_may_be_the_most_of_something() -> None:
    """Of a figure of Maru's own."""
    rows = [Row(crowd.CASE, "maru", 0, {"clients": 5_000}, {"kib": 9.0, "joined_s": 3_000.0})]
    assert verdicts(rows) == {"KiB a connection, 5,000 joined": ["at most 4.50", "9.00", "NO"]}


def send(peer: str, cpu_us: float, acks_s: float, **values: float) -> Row:
    """Sends of 256 clients at full load."""
    return Row(
        sends.CASE,
        peer,
        0,
        {"clients": 256, "depth": 1, "load": "full"},
        {"cpu_us": cpu_us, "acks_s": acks_s, **values},
    )


def test_an_earlier_maru_stands_beside_a_goal() -> None:
    """Its own ratio to the same peer; and a goal over itself has none."""
    rows = [send("maru-sqlite", 30.0, 28_000), send("maru-sqlite-before", 60.0, 17_500)]
    found = verdicts([*rows, send("jetstream-always", 100.0, 3_500)])
    assert found["sends on SQLite, 256 clients: rate, times JetStream with sync always"] == [
        *("at least 7.00", "8.00", "yes"),
        "5.00",
    ]
    assert found["sends on SQLite, 256 clients: CPU, times the earlier Maru's"] == ["at most 0.60", "0.50", "yes", "-"]


def test_sends_are_compared_with_those_that_promise_the_same() -> None:
    """And Redis' own time is a figure of its own."""
    rows = [send("maru-redis", 25.0, 1.0, store_us=10.0), send("centrifugo-redis", 20.0, 1.0, store_us=20.0)]
    found = verdicts([*rows, send("maru", 10.0, 1.0)])
    assert found["sends on Redis, 256 clients: less CPU than Centrifugo, x"][:3] == ["at least 0.90", "0.80", "NO"]
    assert found["sends on Redis, 256 clients: Redis' own CPU, times Centrifugo's"][:3] == [
        "at most 1.00",
        "0.50",
        "yes",
    ]
    (table,) = [table for layout in LAYOUTS for table in tables(Summary(rows), layout)]
    assert [line[1] for line in table.lines] == ["1", "0.80"]


def test_where_maru_is_behind_is_told_with_the_widest_gap_first() -> None:
    """Only peers that do the work."""
    rows = [fan("maru", 0, 100), fan("nchan", 0, 200), fan("bare", 0, 900), fan("node", 0, 50)]
    rows += [send("maru-redis", 25.0, 1.0), send("centrifugo-redis", 20.0, 1.0), send("maru-redis-before", 1.0, 1.0)]
    rows += [
        Row(crowd.CASE, peer, 0, {"clients": 9}, {"joined_cpu_ms": cost})
        for peer, cost in (("maru", 4.0), ("nats", 1.0))
    ]
    assert behind(Summary(rows)).lines == (
        ("nats", "Connections: 9 clients", "0.25"),
        ("nchan", "Fan-out: 1000 members, 1 in flight, 64 bytes, 1 channels, 1 senders", "0.50"),
        ("centrifugo-redis", "Acked sends: full load, 256 clients, 1 under way each", "0.80"),
    )


def test_layers_stand_side_by_side() -> None:
    """One column for each Maru, the dearest layer first; what one does not have is a dash."""
    rows = [
        Row(layers.CASE, "maru-sqlite", 0, {"of": "send"}, {"us": 9.0, "log": 2.0, "wire": 7.0, "calls": 30.0}),
        Row(layers.CASE, "maru-sqlite-before", 0, {"of": "send"}, {"us": 50.0, "log": 4.0, "calls": 112.0}),
    ]
    (table,) = layer_tables(Summary(rows))
    assert table.heads == ("", "maru-sqlite", "maru-sqlite-before")
    assert table.lines[:4] == (
        ("all, us", "9.0", "50.0"),
        ("wire", "7.0", "-"),
        ("log", "2.0", "4.0"),
        ("calls in Python", "30.0", "112.0"),
    )


def test_a_runs_description_names_no_file() -> None:
    """A page is for others, who have other folders."""
    told = told_of(["goals", "--rounds", "5", "--out", "/a/b.jsonl", "--page=docs/performance.md", "--set", "MARU_X=1"])
    assert told == "python -m bench goals --rounds 5 --set MARU_X=1"


def test_results_of_several_runs_become_one(tmp_path: Path) -> None:
    """Their rows one after another, and the time of all."""
    files = [tmp_path / name for name in ("a.jsonl", "b.jsonl")]
    for number, file in enumerate(files):
        with file.open("w") as out:
            out.write(json.dumps(asdict(fan("maru", number, 100))) + "\n")
            results.note(out, {"machine": {}, "date": "2026-01-31", "command": "python -m bench goals", "seconds": 5.0})
    told, rows = results.read(*files)
    assert (told["command"], told["seconds"], [row.round for row in rows]) == ("python -m bench goals", 10.0, [0, 1])


def test_what_was_not_measured_has_no_verdict() -> None:
    """Neither reached nor missed."""
    assert verdicts([]) == {}


def test_a_page_without_figures_says_so_everywhere() -> None:
    """No placeholder is left, and nothing is made up."""
    written = page(Summary([]), ABOUT, ())
    assert "$" not in written
    assert written.count(NOTHING) == 17
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
