"""Who has which message already."""

from hypothesis import given
from hypothesis import strategies as st

from bench.tally import Tally


def test_a_message_is_complete_when_the_last_member_has_it() -> None:
    """Before that, nothing is told."""
    tally = Tally([1, 2, 3])
    assert [tally.add(1, 1), tally.add(2, 1), tally.add(3, 1)] == [False, False, True]
    assert (tally.advance(), tally.complete, tally.total) == (1, 1, 3)


def test_several_messages_become_complete_at_once() -> None:
    """The slowest member's read with three in it completes three."""
    tally = Tally([1, 2])
    assert not tally.add(1, 3)
    assert tally.add(2, 3)
    assert tally.advance() == 3


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(1, 5)), max_size=200))
def test_complete_is_what_the_slowest_member_has(reads: list[tuple[int, int]]) -> None:
    """Whatever the order of the reads, and as soon as it is so."""
    tally = Tally(range(5))
    counts = [0] * 5
    for member, got in reads:
        counts[member] += got
        if tally.add(member, got):
            assert tally.advance() > 0
        assert tally.complete == min(counts)
        assert tally.total == sum(counts)
