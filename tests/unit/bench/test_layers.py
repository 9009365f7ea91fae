"""A profile becomes layers."""

from typing import Any

import pytest

from bench.layers import LOOP, WRITES, Function, layer, sum_up

WEBSOCKET: Function = ("/x/server/gateway/websocket/connection.py", 1, "data_received")
DOMAIN: Function = ("/x/server/domain/messages.py", 1, "check")
JSON: Function = ("/usr/lib/python3/json/decoder.py", 1, "decode")
SCAN: Function = ("~", 0, "<method 'match' of 're.Pattern' objects>")
WRITE: Function = ("~", 0, "<built-in method posix.write>")


def counts(calls: int, own_s: float, callers: dict[Function, Any] | None = None) -> Any:
    """As `pstats` has them."""
    return (calls, calls, own_s, own_s, callers or {})


def test_what_a_function_calls_elsewhere_counts_to_its_layer() -> None:
    """By the time that is spent for each caller, over any number of steps."""
    stats = {
        WEBSOCKET: counts(10, 1.0),
        DOMAIN: counts(10, 2.0),
        JSON: counts(20, 4.0, {WEBSOCKET: (10, 10, 3.0, 3.0), DOMAIN: (10, 10, 1.0, 1.0)}),
        SCAN: counts(20, 4.0, {JSON: (20, 20, 4.0, 4.0)}),
        WRITE: counts(10, 5.0, {WEBSOCKET: (10, 10, 5.0, 5.0)}),
    }
    found = sum_up(stats, 16.0)
    assert found.seconds == pytest.approx(
        {"connections and frames": 7.0, WRITES: 5.0, "values and rules (domain)": 4.0, LOOP: 0.0}
    )
    assert (found.calls, found.c_calls) == (40, 30)


def test_the_profilers_own_time_is_taken_off_by_calls() -> None:
    """So that many small calls do not look dearer than they are."""
    stats = {WEBSOCKET: counts(100, 10.0), DOMAIN: counts(900, 10.0)}
    found = sum_up(stats, 10.0).seconds
    assert found["connections and frames"] == pytest.approx(9.0)
    assert found["values and rules (domain)"] == pytest.approx(1.0)


def test_time_outside_of_all_functions_is_the_loops() -> None:
    """uvloop is written in C, and no profiler of Python sees it."""
    assert sum_up({WEBSOCKET: counts(1, 1.0)}, 3.0, outside=2.0).seconds == pytest.approx(
        {LOOP: 2.0, "connections and frames": 1.0}
    )


def test_functions_that_call_each_other_end() -> None:
    """They count to those who called them first."""
    circle = {JSON: counts(2, 1.0, {SCAN: (1, 1, 1.0, 1.0), WEBSOCKET: (1, 1, 1.0, 1.0)})}
    circle[SCAN] = counts(1, 1.0, {JSON: (1, 1, 1.0, 1.0)})
    found = sum_up(circle | {WEBSOCKET: counts(1, 1.0)}, 3.0)
    assert sum(found.seconds.values()) == pytest.approx(3.0)


def test_turns_are_the_loops_questions() -> None:
    """Each asks once for what is ready."""
    poll: Function = ("~", 0, "<method 'poll' of 'select.epoll' objects>")
    assert sum_up({poll: counts(7, 0.1)}, 0.1).polls == 7


def test_every_folder_of_the_server_is_in_a_layer() -> None:
    """What has none of its own is the rest."""
    assert layer(("/x/server/process/garbage.py", 1, "collect")) == "the rest of Maru"
    assert layer(("/x/site-packages/redis/asyncio/client.py", 1, "execute")) == "log and broadcast"
    assert layer(("/usr/lib/python3/enum.py", 1, "__get__")) is None
