"""When garbage is collected: in virtual time, so that minutes take no time."""

import asyncio
import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from server.process.garbage import COLLECT_S, LOOK_S, PATIENCE_S, collect_when_idle, settle
from tests.doubles.virtual_time import virtually


@contextmanager
def collector() -> Iterator[None]:
    """The collector as it was, afterwards."""
    thresholds = gc.get_threshold()
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()


def test_settled_objects_are_out_of_sight() -> None:
    """What start-up made is never looked at again, and a full collection never comes by itself."""
    with collector():
        settle()
        assert gc.get_freeze_count() > 1_000
        assert gc.get_threshold()[2] >= 1_000_000
        assert gc.get_threshold()[0] > 0


class Collections:
    """Full collections, noted instead of done: at which second. Until `busy_until` the loop wakes everybody
    up late."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.at: list[float] = []
        self.busy_until = 0.0
        self._late = 0.0
        monkeypatch.setattr(gc, "collect", lambda: self.at.append(self._now()))
        monkeypatch.setattr(time, "monotonic", self._monotonic)

    def _now(self) -> float:
        return asyncio.get_running_loop().time() + self._late

    def _monotonic(self) -> float:
        if self._now() < self.busy_until:
            self._late += LOOK_S
        return self._now()


def watched(collections: Collections, seconds: float) -> list[float]:
    """Let the policy run for so long; return when it collected."""

    async def scenario() -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await collect_when_idle()

    virtually(scenario)
    return collections.at


def test_an_idle_loop_is_searched_every_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once in `COLLECT_S` and the short look at whether there is nothing to do."""
    at = watched(Collections(monkeypatch), 4 * COLLECT_S)
    assert at == pytest.approx([(COLLECT_S + LOOK_S) * number for number in (1, 2, 3)])


def test_a_busy_loop_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing while the loop is late; at the first idle moment after that."""
    collections = Collections(monkeypatch)
    collections.busy_until = COLLECT_S + 30
    at = watched(collections, COLLECT_S + 40)
    assert at == pytest.approx([COLLECT_S + 30], abs=3 * LOOK_S)


def test_a_loop_that_is_never_idle_is_searched_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Garbage is bounded in time: after `PATIENCE_S` of load it is looked for all the same."""
    collections = Collections(monkeypatch)
    collections.busy_until = float("inf")
    at = watched(collections, COLLECT_S + PATIENCE_S + 1)
    assert at[0] == pytest.approx(COLLECT_S + PATIENCE_S, abs=5 * LOOK_S)
