"""Sampling: the first lines of a session and second, each refusal, and the number of all others."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from server.logs import sampling
from server.logs.command_line import command_line
from tests.doubles.lines import Lines
from tests.doubles.virtual_time import virtually

PER_SECOND = 3


def said(session: str, outcome: str = "ok", name: str = "message:send") -> dict[str, Any]:
    """The fields of a command."""
    return {
        "name": name,
        "session": session,
        "user": f"{session}'s user",
        "channel": "room:1",
        "offset": None,
        "outcome": outcome,
        "ms": 1.0,
    }


def written(lines: Lines) -> Iterator[tuple[object, ...]]:
    """Yield the lines so far: session and outcome of a command, or session, user and how many are missing."""
    for text in lines.text.splitlines():
        line = json.loads(text)
        if line["event"] == "command":
            yield line["session"], line["outcome"]
        else:
            assert line["event"] == "command.suppressed"
            yield line["session"], line["user"], line["suppressed"]


def test_a_flood_is_a_few_lines_and_a_number(configure: Callable[..., Lines]) -> None:
    """Of each session for itself; in the next second there are lines again."""
    lines = configure()

    async def scenario() -> None:
        line = command_line(PER_SECOND)
        for _ in range(100):
            line(**said("flood"))
        line(**said("calm"))
        assert list(written(lines)) == [("flood", "ok")] * PER_SECOND + [("calm", "ok")]
        await asyncio.sleep(0.99)
        line(**said("flood"))
        await asyncio.sleep(0.02)
        assert list(written(lines))[PER_SECOND + 1 :] == [("flood", "flood's user", 101 - PER_SECOND)]
        line(**said("flood"))
        assert list(written(lines))[PER_SECOND + 2 :] == [("flood", "ok")]

    virtually(scenario)


def test_a_refusal_is_seen_in_any_flood(configure: Callable[..., Lines]) -> None:
    """The first of each kind; the others are counted, as all lines count into the bound."""
    lines = configure()

    async def scenario() -> None:
        line = command_line(PER_SECOND)
        for _ in range(50):
            line(**said("flood"))
        for outcome in ["permission_denied", "bad_request", "permission_denied"] * 10:
            line(**said("flood", outcome))
        for _ in range(50):
            line(**said("refused", "bad_request"))
        await asyncio.sleep(1.01)

    virtually(scenario)
    assert Counter(written(lines)) == {
        ("flood", "ok"): PER_SECOND,
        ("flood", "permission_denied"): 1,
        ("flood", "bad_request"): 1,
        ("flood", "flood's user", 50 + 30 - PER_SECOND - 2): 1,
        ("refused", "bad_request"): PER_SECOND + 1,
        ("refused", "refused's user", 50 - PER_SECOND - 1): 1,
    }


def test_no_line_is_missing_below_the_bound(configure: Callable[..., Lines]) -> None:
    """And nothing is said of what is missing; without a bound, all lines are written."""
    lines = configure()

    async def scenario() -> None:
        line, every = command_line(PER_SECOND), command_line()
        for _ in range(PER_SECOND):
            line(**said("calm"))
        for _ in range(100):
            every(**said("loud"))
        await asyncio.sleep(1.01)

    virtually(scenario)
    assert Counter(written(lines)) == {("calm", "ok"): PER_SECOND, ("loud", "ok"): 100}


def test_lines_for_people_are_sampled_too(configure: Callable[..., Lines]) -> None:
    """And above `info` there are none, nor numbers."""

    async def scenario() -> None:
        line = command_line(PER_SECOND)
        for _ in range(10):
            line(**said("flood"))
        await asyncio.sleep(1.01)

    lines = configure(style="console")
    virtually(scenario)
    assert lines.text.count(" command name=message:send ") == PER_SECOND
    assert lines.text.count(f"suppressed={10 - PER_SECOND}") == 1
    quiet = configure("warning")
    virtually(scenario)
    assert quiet.text == ""


def test_nothing_is_kept_of_sessions_that_are_quiet() -> None:
    """A timer runs only in a second in which somebody speaks; sessions without number end the second early."""
    ends: list[Callable[[], None]] = []
    lines: list[str] = []

    def write(name: str, session: str, *_: object) -> None:
        lines.append(session)

    sample = sampling.Sample(write, 1, lambda _, end: ends.append(end))
    for number in range(sampling.MAX_SESSIONS + 1):
        sample.line("message:send", f"s{number}", None, None, None, "ok", 1.0)
    assert len(ends) == 2
    sample.line("message:send", "s0", None, None, None, "ok", 1.0)
    last = f"s{sampling.MAX_SESSIONS}"
    sample.line("message:send", last, None, None, None, "ok", 1.0)
    ends[0]()  # the end of a second that is over
    sample.line("message:send", last, None, None, None, "ok", 1.0)
    ends[1]()
    sample.line("message:send", last, None, None, None, "ok", 1.0)
    assert lines[sampling.MAX_SESSIONS :] == [last, "s0", last]
    assert len(ends) == 3
