"""The sequencer, the ring and merge: one order out of any chaos."""

from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.domain.events import Event
from server.domain.messages import Position
from server.domain.sequencing import HELD_LIMIT, RING_LIMIT, Gap, Known, OtherEpoch, Ready, Ring, Sequencer, merge
from tests.doubles.samples import event, event_range, unknown


def offsets(events: Sequence[Event]) -> list[int]:
    """The offsets of the events."""
    return [event.offset for event in events]


@dataclass(frozen=True)
class Hint:
    """The hint at an offset arrives."""

    offset: int


@dataclass(frozen=True)
class LogRead:
    """A read of up to `limit` events from the position that the sequencer had `ago` reads before."""

    limit: int
    ago: int = 0


Step = Hint | LogRead


def plans(size: int) -> st.SearchStrategy[list[Step]]:
    """Hints at any of 1..size, in any order and number, and reads of the log, timely and stale, between them."""
    hint = st.builds(Hint, st.integers(1, size))
    read = st.builds(LogRead, st.integers(0, 10), st.integers(0, 3))
    return st.lists(st.one_of(hint, hint, hint, read), max_size=120)


@given(st.integers(1, 40).flatmap(lambda size: st.tuples(st.just(size), plans(size))))
def test_whatever_the_plan_each_event_comes_once_in_order(sized: tuple[int, list[Step]]) -> None:
    """Hints are lost, repeated, late and reordered, the log is read at any moment, and reads are late. At every moment
    the sequencer has returned exactly 1..position, and after one last read exactly 1..n."""
    size, plan = sized
    log = event_range(0, size)
    sequencer = Sequencer(Position("one", 0))
    given_out: list[Event] = []
    starts = [0]
    for step in [*plan, LogRead(size)]:
        if isinstance(step, Hint):
            verdict = sequencer.accept(log[step.offset - 1])
            if isinstance(verdict, Ready):
                given_out.extend(verdict.events)
        else:
            starts.append(sequencer.position.offset)
            start = starts[-1 - min(step.ago, len(starts) - 1)]
            given_out.extend(sequencer.fill(log[start : start + step.limit]))
        assert offsets(given_out) == list(range(1, sequencer.position.offset + 1))
    assert tuple(given_out) == log
    assert not sequencer.has_gap


@given(st.lists(st.integers(1, 30), max_size=60))
def test_a_verdict_says_what_is_true(hints: list[int]) -> None:
    """Known is at or below the position, the next is ready with all that waits behind it, the rest is a gap."""
    sequencer = Sequencer(Position("one", 0))
    seen: set[int] = set()
    for offset in hints:
        before = sequencer.position.offset
        verdict = sequencer.accept(event(offset))
        seen.add(offset)
        expected = before
        while expected + 1 in seen:
            expected += 1
        assert sequencer.position == Position("one", expected)
        if offset <= before:
            assert verdict == Known()
        elif offset > before + 1:
            assert verdict == Gap()
        else:
            assert verdict == Ready(event_range(before, expected))
        assert sequencer.has_gap == (max(seen) > expected)


def test_an_event_of_another_epoch_changes_nothing() -> None:
    """It is neither delivered nor kept, whatever its offset: only the log knows which epoch is true."""
    sequencer = Sequencer(Position("one", 3))
    for offset in (1, 3, 4, 9):
        assert sequencer.accept(event(offset, "two")) == OtherEpoch()
    assert sequencer.position == Position("one", 3)
    assert not sequencer.has_gap


def test_what_is_held_behind_a_gap_is_bounded() -> None:
    """Of the events behind a gap `HELD_LIMIT` are kept; the first hint then frees those, and the log has the rest."""
    sequencer = Sequencer(Position("one", 0))
    total = HELD_LIMIT + 10
    for early in event_range(1, total):
        assert sequencer.accept(early) == Gap()
    assert sequencer.accept(event(1)) == Ready(event_range(0, HELD_LIMIT + 1))
    assert not sequencer.has_gap
    assert sequencer.fill(event_range(HELD_LIMIT + 1, total)) == event_range(HELD_LIMIT + 1, total)


def test_a_log_read_that_fills_the_gap_frees_what_is_held() -> None:
    """`fill` returns the log's events and then the held ones. It drops events that it has returned before."""
    sequencer = Sequencer(Position("one", 2))
    sequencer.accept(event(6))
    assert sequencer.fill(event_range(0, 4)) == event_range(2, 4)
    assert sequencer.has_gap
    assert sequencer.fill(event_range(4, 5)) == event_range(4, 6)
    assert not sequencer.has_gap


def test_a_reset_drops_what_is_held() -> None:
    """After a reset the position is the given one, and earlier held events are gone."""
    sequencer = Sequencer(Position("one", 0))
    sequencer.accept(event(3))
    sequencer.reset(Position("two", 1))
    assert sequencer.position == Position("two", 1)
    assert not sequencer.has_gap
    assert sequencer.accept(event(2, "two")) == Ready((event(2, "two"),))


def test_what_the_log_never_had_can_be_forgotten() -> None:
    """`drop_held` keeps the position and drops the held events."""
    sequencer = Sequencer(Position("one", 1))
    sequencer.accept(event(5))
    sequencer.drop_held()
    assert not sequencer.has_gap
    assert sequencer.accept(event(2)) == Ready((event(2),))


@given(st.lists(st.tuples(st.sampled_from(["one", "two"]), st.integers(1, 12)), max_size=60), st.integers(1, 8))
def test_a_ring_is_the_longest_dense_end_within_its_limit(pushed: list[tuple[str, int]], limit: int) -> None:
    """Whatever is pushed, the ring holds the last events that follow one another in one epoch, at most `limit`."""
    ring = Ring(limit)
    expected: list[Event] = []
    for epoch, offset in pushed:
        if expected and (expected[-1].epoch, expected[-1].offset + 1) != (epoch, offset):
            expected = []
        expected = [*expected, event(offset, epoch)][-limit:]
        ring.push(event(offset, epoch))
        for after in range(14):
            assert list(ring.after(after)) == [kept for kept in expected if kept.offset > after]


def test_an_empty_ring_has_nothing() -> None:
    """A new ring and a cleared one are empty, and a cleared one starts over at any offset."""
    ring = Ring()
    assert ring.after(0) == ()
    ring.push(event(1))
    ring.clear()
    assert ring.after(0) == ()
    ring.push(event(9))
    assert ring.after(0) == (event(9),)


def test_a_ring_keeps_so_many_by_default() -> None:
    """The default limit is `RING_LIMIT`; the oldest goes first."""
    ring = Ring()
    for pushed in event_range(0, RING_LIMIT + 5):
        ring.push(pushed)
    assert ring.after(0) == event_range(5, RING_LIMIT + 5)


def test_an_event_of_an_unknown_kind_is_one_of_the_row() -> None:
    """It fills its place in the order, in the ring and between two sources, as any other."""
    row = (event(1), unknown(2), event(3))
    sequencer, ring = Sequencer(Position("one", 0)), Ring()
    assert [sequencer.accept(one) for one in (row[1], row[2], row[1])] == [Gap()] * 3
    assert sequencer.accept(row[0]) == Ready(row)
    assert sequencer.accept(row[1]) == Known()
    for one in row:
        ring.push(one)
    assert ring.after(0) == row
    assert merge(0, 3, row[:2], ring.after(1)) == row


def test_a_ring_of_unknown_kinds_is_bounded_in_bytes() -> None:
    """Each of them counts as the least that an event takes."""
    ring = Ring(budget=512 * 10)
    for offset in range(1, 21):
        ring.push(unknown(offset))
    assert [each.offset for each in ring.after(0)] == [*range(11, 21)]


@given(
    st.integers(0, 20),
    st.integers(0, 20),
    st.lists(st.lists(st.integers(1, 22), max_size=20), max_size=3),
)
def test_merge_is_the_whole_slice_or_nothing(after: int, upto: int, found: list[list[int]]) -> None:
    """From sources that overlap, repeat and are out of order: exactly after + 1 .. upto, each once, in order, and no
    other event; None if one is in no source."""
    merged = merge(after, upto, *([event(offset) for offset in source] for source in found))
    wanted = range(after + 1, upto + 1)
    if set(wanted) <= {offset for source in found for offset in source}:
        assert merged == event_range(after, upto)
    else:
        assert merged is None


@pytest.mark.parametrize(("after", "upto"), [(5, 5), (5, 4), (0, 0)])
def test_merge_of_an_empty_slice_is_empty(after: int, upto: int) -> None:
    """Nothing was missed: that needs no source."""
    assert merge(after, upto) == ()
