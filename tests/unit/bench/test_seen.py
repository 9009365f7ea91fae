"""The messages that each member has received."""

from hypothesis import given
from hypothesis import strategies as st

from bench.seen import Seen


def test_a_message_is_complete_when_the_last_member_has_it() -> None:
    """Before that, nothing is reported."""
    seen = Seen([1, 2, 3])
    assert [seen.add(1, 1), seen.add(2, 1), seen.add(3, 1)] == [False, False, True]
    assert (seen.advance(), seen.complete, seen.total) == (1, 1, 3)


def test_several_messages_become_complete_at_once() -> None:
    """The slowest member's read with three in it completes three."""
    seen = Seen([1, 2])
    assert not seen.add(1, 3)
    assert seen.add(2, 3)
    assert seen.advance() == 3


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(1, 5)), max_size=200))
def test_complete_is_what_the_slowest_member_has(reads: list[tuple[int, int]]) -> None:
    """In any order of the reads, and at once."""
    seen = Seen(range(5))
    counts = [0] * 5
    for member, got in reads:
        counts[member] += got
        if seen.add(member, got):
            assert seen.advance() > 0
        assert seen.complete == min(counts)
        assert seen.total == sum(counts)
