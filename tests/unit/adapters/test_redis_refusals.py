"""Refusals: all are counted, few are told."""

from server.adapters.refusals import LINE_S, Refusals


def test_a_second_has_a_line() -> None:
    """The first is told at once, and then the first of each second."""
    now = 100.0
    refusals = Refusals(lambda: now)
    told = []
    for number in range(1_000):
        if refusals.add():
            told.append(refusals.count)
        now = 100.0 + (number + 1) * LINE_S / 400
    assert refusals.count == 1_000
    assert told == [1, 401, 801]
