"""The sequencer, the ring and merge: one order out of any chaos."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from hypothesis import given
from hypothesis import strategies as st

from server.domain.events import Event, EventPublished, ReactionChanged, UnknownEvent
from server.domain.identity import Author, UserId
from server.domain.messages import Position
from server.domain.sequencing import HELD_LIMIT, Gap, Known, OtherEpoch, Ready, Sequencer, fingerprint
from tests.doubles.samples import NOW_MS, ROOM, event, event_range, some_id, unknown


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


def test_events_of_a_place_are_told_apart() -> None:
    """By their time, and by their message, their name or their kind."""
    shop, place = Author(UserId("shop"), None), (ROOM, "one", 7, NOW_MS)
    paid = EventPublished(*place, "paid", shop, 1, None)
    events: list[Event] = [
        paid,
        EventPublished(*place, "sent", shop, 1, None),
        ReactionChanged(*place, some_id(1), ()),
        ReactionChanged(*place, some_id(2), ()),
        UnknownEvent(*place, "pinned"),
    ]
    assert len({fingerprint(each) for each in events}) == len(events)
    assert fingerprint(paid) == fingerprint(replace(paid, key="k"))


def test_an_event_of_an_unknown_kind_is_one_of_the_row() -> None:
    """It fills its place in the order as any other."""
    row = (event(1), unknown(2), event(3))
    sequencer = Sequencer(Position("one", 0))
    assert [sequencer.accept(one) for one in (row[1], row[2], row[1])] == [Gap()] * 3
    assert sequencer.accept(row[0]) == Ready(row)
    assert sequencer.accept(row[1]) == Known()
