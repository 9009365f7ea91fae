"""When an endpoint is asked again: back-off, outage, poison, for each with given times."""

from random import Random

import pytest

from server.application.outside.webhooks import schedule as schedules
from server.application.outside.webhooks.schedule import (
    BACK_OFF_S,
    IN_FLIGHT,
    JITTER,
    MAX_AGE_S,
    MOST_RETRY_AFTER_S,
    REFUSALS,
    Schedule,
    Verdict,
)
from server.domain.channels import ChannelName
from server.domain.webhooks import Answer, Outcome

A, B, C, D = (ChannelName(name) for name in "abcd")
OK = Answer(Outcome.ACCEPTED, 200)
DOWN = Answer(Outcome.UNREACHABLE)
BAD = Answer(Outcome.REFUSED, 400)


class Stage:
    """A schedule, with the time."""

    def __init__(self) -> None:
        self.schedule = Schedule(Random(7))
        self.now = 1_000.0

    def try_(self, channel: ChannelName, answer: Answer, last: int = 1) -> Verdict:
        """Ask about a channel."""
        self.schedule.begin(channel)
        verdict = self.schedule.ended(channel, last, answer, self.now)
        self.schedule.over(channel)
        return verdict

    def wait_of(self, channel: ChannelName) -> float:
        """Return how long the channel waits."""
        low, high = 0.0, 10 * MOST_RETRY_AFTER_S
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (low, middle) if self.schedule.ready(channel, self.now + middle) else (middle, high)
        return high

    def fail_everywhere(self) -> None:
        """Let the endpoint go down."""
        for channel in (A, B, C, A, B):
            self.try_(channel, DOWN)
        assert self.schedule.down


@pytest.fixture
def stage() -> Stage:
    """A fresh schedule."""
    return Stage()


def test_a_channel_that_fails_waits_longer_and_longer(stage: Stage) -> None:
    """1, 2, 4, 8, 15, 30, 60 s and then every 60 s, a fifth more or less."""
    waits = []
    for expected in [*BACK_OFF_S, 60.0, 60.0]:
        assert stage.try_(A, DOWN) is Verdict.AGAIN
        waits.append(stage.wait_of(A) / expected)
        stage.now += stage.wait_of(A)
    assert all(1 - JITTER <= wait <= 1 + JITTER for wait in waits)
    assert len({round(wait, 3) for wait in waits}) > 5
    assert stage.schedule.ready(B, stage.now)
    assert not stage.schedule.down


def test_a_success_ends_the_wait(stage: Stage) -> None:
    """The next failure waits as if it were the first."""
    for _ in range(4):
        stage.try_(A, DOWN)
        stage.now += 60
    assert stage.schedule.last(A) == 1
    assert stage.try_(A, OK) is Verdict.DONE
    assert stage.schedule.last(A) is None
    assert stage.schedule.ready(A, stage.now)
    stage.try_(A, DOWN)
    assert stage.wait_of(A) < 1.3


@pytest.mark.parametrize(("wish", "wait"), [(7.0, 7.0), (0.0, 1.0), (86_400.0, MOST_RETRY_AFTER_S)])
def test_the_receivers_wish_wins(stage: Stage, wish: float, wait: float) -> None:
    """Within a second and an hour."""
    stage.try_(A, Answer(Outcome.BUSY, 429, wish))
    assert stage.wait_of(A) == pytest.approx(wait)


def test_a_channel_has_one_request_and_an_endpoint_a_few(stage: Stage) -> None:
    """Over eight, the next waits for an end."""
    schedule = stage.schedule
    for number in range(IN_FLIGHT):
        assert schedule.wait_s(stage.now) == 0.0
        channel = ChannelName(f"c{number}")
        assert schedule.ready(channel, stage.now)
        schedule.begin(channel)
        assert not schedule.ready(channel, stage.now)
    assert schedule.wait_s(stage.now) is None
    assert len(schedule.in_flight) == IN_FLIGHT
    schedule.over(ChannelName("c0"))
    assert schedule.wait_s(stage.now) == 0.0


def test_an_endpoint_that_is_down_is_probed_alone(stage: Stage) -> None:
    """One request at a time, later and later, about any channel; a success lets all go on at once."""
    stage.fail_everywhere()
    schedule = stage.schedule
    waits = []
    for channel in (D, A, B, C, D, A, B, C):
        wait = schedule.wait_s(stage.now)
        assert wait is not None
        waits.append(wait)
        stage.now += wait
        assert schedule.wait_s(stage.now) == 0.0
        assert schedule.ready(channel, stage.now)
        schedule.begin(channel)
        assert schedule.wait_s(stage.now) is None
        schedule.ended(channel, 1, DOWN, stage.now)
        schedule.over(channel)
    assert waits == pytest.approx([*BACK_OFF_S, 60.0], rel=JITTER)
    assert stage.try_(D, OK) is Verdict.DONE
    assert not schedule.down
    assert all(schedule.ready(channel, stage.now) for channel in (A, B, C, D))
    assert schedule.wait_s(stage.now) == 0.0


def test_a_bad_channel_is_no_outage(stage: Stage) -> None:
    """Two channels that fail for ever leave the endpoint up."""
    for _ in range(50):
        stage.try_(A, DOWN)
        stage.try_(B, DOWN)
    assert not stage.schedule.down


def test_poison(stage: Stage) -> None:
    """After five refusals in a row it is given up, and the channel goes on; other failures break the row."""
    for _ in range(REFUSALS - 1):
        assert stage.try_(A, BAD) is Verdict.AGAIN
    assert stage.try_(A, DOWN) is Verdict.AGAIN
    for _ in range(REFUSALS - 1):
        assert stage.try_(A, BAD) is Verdict.AGAIN
    assert stage.try_(A, BAD) is Verdict.POISON
    stage.schedule.buried(A)
    assert stage.schedule.ready(A, stage.now)


def test_failing_for_a_day(stage: Stage) -> None:
    """A channel's request is late once the channel, or the endpoint, has failed for a day."""
    stage.try_(A, DOWN)
    stage.now += MAX_AGE_S - 1
    assert stage.try_(A, DOWN) is Verdict.AGAIN
    stage.now += 1
    assert stage.try_(A, DOWN) is Verdict.LATE
    stage.fail_everywhere()
    stage.now += MAX_AGE_S
    assert stage.try_(D, DOWN) is Verdict.LATE


def test_an_endpoint_that_is_gone(stage: Stage) -> None:
    """410: it gets nothing more."""
    assert stage.try_(A, Answer(Outcome.GONE, 410)) is Verdict.OFF
    assert stage.schedule.off
    assert stage.schedule.wait_s(stage.now + 1e9) is None


def test_a_fault_of_this_side_is_not_held_against_the_endpoint(stage: Stage) -> None:
    """The channel waits; the endpoint is not down, and nothing is late or poison."""
    for channel in (A, B, C, D, A, B, C, D):
        stage.schedule.stumbled(channel, stage.now)
        stage.now += 60
    assert not stage.schedule.down
    assert stage.schedule.last(A) is None
    stage.schedule.stumbled(A, stage.now)
    assert stage.wait_of(A) == pytest.approx(4.0, rel=JITTER)


def test_the_memory_of_failures_is_bounded(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest is forgotten."""
    monkeypatch.setattr(schedules, "MAX_FAILING", 2)
    for channel in (A, B):
        stage.try_(channel, DOWN)
    stage.try_(D, DOWN)
    assert stage.schedule.ready(A, stage.now)
    assert not stage.schedule.ready(B, stage.now)
