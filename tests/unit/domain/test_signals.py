"""Signals are values, and a closed set."""

from typing import get_args

from server.domain.identity import UserId
from server.domain.signals import EventEmitted, ReadUpdated, Signal, TypingChanged
from tests.doubles.samples import ROOM


def test_signals_are_values() -> None:
    """Two with the same fields are the same."""
    assert TypingChanged(ROOM, UserId("alice"), True) == TypingChanged(ROOM, UserId("alice"), True)
    assert ReadUpdated(ROOM, UserId("alice"), 1) != ReadUpdated(ROOM, UserId("alice"), 2)
    assert len({ReadUpdated(ROOM, UserId("alice"), 1), ReadUpdated(ROOM, UserId("alice"), 1)}) == 1


def test_the_set_is_closed() -> None:
    """A further kind is a change of every match."""
    assert get_args(Signal) == (TypingChanged, ReadUpdated, EventEmitted)
