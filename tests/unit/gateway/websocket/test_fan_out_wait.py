"""How long a fan-out waits: for commands whose events may join it, and no longer than that is of use."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.gateway.websocket.fan_out_wait import (
    CLIENTS_PER_WAIT,
    COMMAND_TURNS,
    MAX_IDLE_TURNS,
    MAX_SKIPS,
    MIN_CLIENTS,
    WAIT_S,
    FanOutWait,
)

TURN_S = 0.000_01
ENDLESS = 10_000
"""Turns that no wait takes."""


class Scene:
    """A wait and its clock. Every turn takes `turn_s`."""

    def __init__(self, turn_s: float = TURN_S) -> None:
        self.now = 1.0
        self.wait = FanOutWait(lambda: self.now)
        self._turn_s = turn_s

    def turn(self, clients: int) -> bool:
        """Let a turn go by; say whether the fan-out waits for another."""
        self.now += self._turn_s
        return self.wait.goes_on(clients)

    def fan_out(self, clients: int = MIN_CLIENTS, *, more: int = 0, strangers: int = 0, every: int = 1) -> int:
        """Write an event, while events of the same channel and of others come at every so many turns. Return the turns
        that it has waited."""
        wait, turns = self.wait, 0
        wait.opened("room:a")
        if wait.is_for_commands(clients):
            wait.queued("room:a")
        while turns < ENDLESS and self.turn(clients):
            turns += 1
            if turns % every == 0 and more:
                more -= 1
                wait.opened("room:a")
            if turns % every == 0 and strangers:
                strangers -= 1
                wait.opened(f"stranger:{strangers}")
        wait.end()
        return turns


def test_an_event_is_written_when_no_command_is_left() -> None:
    """The wait ends with the last command, not at a time."""
    scene = Scene()
    scene.wait.under_way = 2
    scene.wait.opened("room:a")
    assert scene.turn(MIN_CLIENTS)
    scene.wait.under_way = 1
    assert scene.turn(MIN_CLIENTS)
    scene.wait.under_way = 0
    assert not scene.turn(MIN_CLIENTS)


@pytest.mark.parametrize(
    ("under_way", "clients", "turns"),
    [
        (0, MIN_CLIENTS, 0),
        (0, CLIENTS_PER_WAIT - 1, 0),
        (1, MIN_CLIENTS - 1, 0),
        (1, MIN_CLIENTS, COMMAND_TURNS),
        (9, CLIENTS_PER_WAIT, COMMAND_TURNS),
        (0, CLIENTS_PER_WAIT, 1),
        (0, CLIENTS_PER_WAIT * 3, 3),
        (0, CLIENTS_PER_WAIT * 99, MAX_IDLE_TURNS),
        (1, CLIENTS_PER_WAIT * 99, MAX_IDLE_TURNS),
    ],
)
def test_a_wait_for_nothing_ends_after_some_turns(under_way: int, clients: int, turns: int) -> None:
    """Nothing comes: the turns depend on the clients and on whether a command is under way."""
    scene = Scene()
    scene.wait.under_way = under_way
    assert scene.fan_out(clients) == turns


def test_a_wait_goes_on_while_events_join() -> None:
    """Each event that joins gives the next one its turns; those of other channels do not."""
    scene = Scene()
    scene.wait.under_way = 1
    assert scene.fan_out(more=10, every=COMMAND_TURNS) == 11 * COMMAND_TURNS
    assert scene.fan_out(strangers=10, every=1) == COMMAND_TURNS


def test_a_wait_has_a_time_limit() -> None:
    """Though events join in each turn."""
    scene = Scene(turn_s=WAIT_S * 0.3)
    scene.wait.under_way = 1
    assert scene.fan_out(more=ENDLESS) == 4
    assert scene.fan_out(CLIENTS_PER_WAIT, more=ENDLESS) == 4


def test_a_slow_command_holds_back_few_batches() -> None:
    """It is under way for thousands of events: those that wait for it are fewer and fewer, down to one in hundreds."""
    scene = Scene()
    scene.wait.under_way = 1
    waited = [number for number in range(3_000) if scene.fan_out()]
    gaps = [later - earlier for earlier, later in itertools.pairwise(waited)]
    assert gaps[:8] == [2, 4, 8, 16, 32, 64, 128, 256]
    assert set(gaps[8:]) == {MAX_SKIPS}


def test_a_wait_that_brings_strangers_brings_too_little() -> None:
    """If less than half of what came during the wait has joined, the wait counts as futile."""
    scene = Scene()
    scene.wait.under_way = 1
    assert scene.fan_out(more=5, strangers=5)
    assert scene.fan_out(more=5, strangers=6)
    assert not scene.fan_out(more=5)
    assert scene.fan_out(more=5)


def test_waits_come_back_when_they_are_of_use() -> None:
    """After hundreds of futile waits the first useful one ends the restraint."""
    scene = Scene()
    scene.wait.under_way = 1
    for _ in range(2_000):
        scene.fan_out()
    tries = 0
    while not scene.fan_out(more=3):
        tries += 1
    assert tries < MAX_SKIPS
    assert all(scene.fan_out(more=3) for _ in range(10))


@given(
    st.lists(
        st.tuples(
            st.sampled_from((0.0, 0.000_01, 0.001, 0.003)),
            st.integers(1, 200),
            st.integers(0, 3),
            st.lists(st.sampled_from("abc"), max_size=3),
        ),
        max_size=200,
    )
)
def test_no_wait_is_longer_than_its_limit(turns: list[tuple[float, int, int, list[str]]]) -> None:
    """Whatever comes: a turn that is `WAIT_S` behind the first turn of a wait is its last."""
    scene = Scene()
    began = None
    for seconds, clients, under_way, keys in turns:
        scene.now += seconds
        scene.wait.under_way = under_way
        for key in keys:
            scene.wait.opened(key)
            scene.wait.queued(key)
        if scene.wait.goes_on(clients):
            began = scene.now if began is None else began
            assert scene.now - began < WAIT_S
        else:
            scene.wait.end()
            began = None


def test_nothing_joins_what_has_been_written() -> None:
    """A batch that was queued for the fan-out, and written before it had waited for a turn, leaves nothing behind."""
    scene = Scene()
    scene.wait.under_way = 1
    scene.wait.opened("room:b")
    scene.wait.queued("room:b")
    scene.wait.under_way = 0
    assert not scene.turn(MIN_CLIENTS)
    scene.wait.end()
    scene.wait.under_way = 1
    scene.wait.opened("room:a")
    for _ in range(COMMAND_TURNS):
        assert scene.turn(MIN_CLIENTS)
        scene.wait.opened("room:b")
    assert not scene.turn(MIN_CLIENTS)
