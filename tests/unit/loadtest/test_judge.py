"""The judgement of positions and keys, held against a slow and obvious one."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.judge import MISSING_LIMIT, PLACES_LIMIT, Ack, ChannelRecord, Ledger, Reader, Tally, Verdict

HEAD = 40
EPOCH = "one"

arrivals = st.lists(st.integers(1, HEAD), max_size=80)


def reader(offset: int = 0) -> Reader:
    """A member from a position on."""
    made = Reader()
    made.begin(EPOCH, offset)
    return made


def heard(offsets: list[int], head: int = HEAD) -> Tally:
    """What is said of one who heard these, while the log went up to `head`."""
    one = reader()
    for offset in offsets:
        one.accept(EPOCH, offset)
    return one.tally({EPOCH: head})


class TestReader:
    """One member, one channel."""

    @given(arrivals)
    def test_counts_what_an_obvious_judge_counts(self, offsets: list[int]) -> None:
        """Lost: never came. Duplicated: came before. Disordered: came for the first time after a later one."""
        seen: Counter[int] = Counter()
        disordered = 0
        for offset in offsets:
            disordered += not seen[offset] and offset < max(seen, default=0)
            seen[offset] += 1
        lost = HEAD - len(seen)
        assert heard(offsets) == Tally(lost, len(offsets) - len(seen), disordered)

    @given(st.sets(st.integers(1, HEAD)))
    def test_each_event_left_out_is_one_lost(self, dropped: set[int]) -> None:
        """A gap at the beginning, in the middle and at the end counts alike."""
        assert heard([offset for offset in range(1, HEAD + 1) if offset not in dropped]) == Tally(lost=len(dropped))

    @given(st.permutations(range(1, HEAD + 1)))
    def test_only_the_one_order_is_clean(self, offsets: list[int]) -> None:
        """A shuffled log loses and repeats nothing, and is clean only if it is not shuffled."""
        tally = heard(offsets)
        assert (tally.lost, tally.duplicated) == (0, 0)
        assert tally.clean == (offsets == sorted(offsets))

    @given(st.lists(st.integers(1, HEAD), max_size=5))
    def test_any_drops_and_reconnects_are_clean_where_resume_is_exact(self, drops: list[int]) -> None:
        """One who goes away at any places, and is given exactly what came after, has no fault."""
        one = reader()
        for drop in [*sorted(drops), HEAD]:
            for offset in range(one.offset + 1, drop + 1):
                one.accept(EPOCH, offset)
            assert one.resumed(EPOCH, drop, recovered=True) is Verdict.NEXT
        assert one.tally({EPOCH: HEAD}).clean

    @given(st.integers(1, HEAD), st.integers(1, HEAD))
    def test_a_resume_that_gives_too_little_or_too_much(self, at: int, start: int) -> None:
        """Events before the position are repeats, events left out after it are lost."""
        one = reader(at)
        for offset in range(start, HEAD + 1):
            one.accept(EPOCH, offset)
        assert one.tally() == Tally(lost=max(0, start - at - 1), duplicated=max(0, min(at, HEAD) - start + 1))

    def test_a_resume_that_ends_early_has_lost_the_rest(self) -> None:
        """`recovered: true` with a position that its events do not reach is a gap; what comes then is in order."""
        one = reader(3)
        assert one.accept(EPOCH, 4) is Verdict.NEXT
        assert one.resumed(EPOCH, 6, recovered=True) is Verdict.GAP
        assert one.accept(EPOCH, 7) is Verdict.NEXT
        assert one.tally() == Tally(lost=2)

    @pytest.mark.parametrize(("epoch", "offset"), [("two", 9), (EPOCH, 2)])
    def test_a_recovered_resume_can_not_go_elsewhere(self, epoch: str, offset: int) -> None:
        """Another epoch, or an earlier place, is no recovery."""
        one = reader(3)
        assert one.resumed(epoch, offset, recovered=True) is Verdict.LATE
        assert one.tally() == Tally(disordered=1)

    def test_what_can_not_be_recovered_is_told_and_counted(self) -> None:
        """In the same epoch what lies between is lost; then it goes on."""
        one = reader(3)
        one.resumed(EPOCH, 9, recovered=False)
        assert one.accept(EPOCH, 10) is Verdict.NEXT
        assert one.tally({EPOCH: 10}) == Tally(lost=6, unrecovered=1)

    @pytest.mark.parametrize(("epoch", "offset"), [("two", 1), (EPOCH, 1)])
    def test_a_log_that_was_lost_is_told_and_counted(self, epoch: str, offset: int) -> None:
        """A new epoch, or an older state of this one: the member goes on there, and it is no pass."""
        one = reader(3)
        assert one.resumed(epoch, offset, recovered=False) is Verdict.GAP
        assert one.accept(epoch, offset + 1) is Verdict.NEXT
        assert one.tally() == Tally(unrecovered=1)

    def test_an_epoch_that_nobody_announced_is_out_of_order(self) -> None:
        """Also before the first join."""
        assert reader().accept("two", 1) is Verdict.LATE
        assert Reader().accept(EPOCH, 1) is Verdict.LATE
        assert not Reader().begun
        assert Reader().tally({"": 5}).clean

    def test_a_large_gap_is_lost_without_being_kept_in_mind(self) -> None:
        """Memory is bounded; the count is right."""
        one = reader()
        one.accept(EPOCH, MISSING_LIMIT + 2)
        assert one.tally() == Tally(lost=MISSING_LIMIT + 1)
        one.accept(EPOCH, 2 * MISSING_LIMIT + 3)
        assert one.tally() == Tally(lost=2 * MISSING_LIMIT + 1)


class TestStory:
    """The members of one process, one channel."""

    def test_all_must_see_the_same_at_one_place(self) -> None:
        """Another message there is out of order, however often it is seen."""
        record = ChannelRecord()
        assert [record.note(EPOCH, 1, key) for key in ("a", "a", "b", "b")] == [
            Verdict.NEXT,
            Verdict.NEXT,
            Verdict.LATE,
            Verdict.LATE,
        ]
        assert record.tally == Tally(disordered=2)
        assert record.key_at(EPOCH, 1) == "a"
        assert record.key_at(EPOCH, 2) is None

    def test_a_message_stands_in_one_place(self) -> None:
        """A send that was repeated under its key and became two messages is a repeat."""
        record = ChannelRecord()
        assert record.note(EPOCH, 1, "a") is Verdict.NEXT
        assert record.note(EPOCH, 2, "a") is Verdict.REPEATED
        assert record.tally == Tally(duplicated=1)

    def test_it_forgets_the_oldest(self) -> None:
        """Memory is bounded."""
        record = ChannelRecord()
        for offset in range(PLACES_LIMIT + 1):
            record.note(EPOCH, offset, str(offset))
        assert record.key_at(EPOCH, 0) is None
        assert record.key_at(EPOCH, 1) == "1"
        assert record.tally.clean


class TestLedger:
    """What was acked."""

    def test_heads_are_the_last_places(self) -> None:
        """By channel and epoch, in whatever order acks come."""
        acks = [Ack("a", EPOCH, 2, "x"), Ack("a", EPOCH, 1, "y"), Ack("a", "two", 1, "z"), Ack("b", EPOCH, 7, "x")]
        ledger = Ledger(acks)
        assert ledger.heads() == {"a": {EPOCH: 2, "two": 1}, "b": {EPOCH: 7}}
        assert ledger.tally.clean
        assert ledger.acks == acks

    def test_two_messages_at_one_place_are_one_lost(self) -> None:
        """Both were promised to be kept there."""
        ledger = Ledger([Ack("a", EPOCH, 1, "x")])
        assert ledger.add(Ack("a", EPOCH, 1, "y")) is Verdict.GAP
        assert ledger.tally == Tally(lost=1)

    def test_one_message_at_two_places_is_a_repeat(self) -> None:
        """The same key was acked twice, with two offsets; the same offset is what a repeated send gets."""
        ledger = Ledger([Ack("a", EPOCH, 1, "x")])
        assert ledger.add(Ack("a", EPOCH, 1, "x")) is Verdict.NEXT
        assert ledger.add(Ack("a", EPOCH, 2, "x")) is Verdict.REPEATED
        assert ledger.tally == Tally(duplicated=1)

    def test_what_stands_elsewhere_than_acked_is_lost(self) -> None:
        """Readers saw another message at the place of an ack; where nobody looked, nothing is said."""
        record = ChannelRecord()
        record.note(EPOCH, 1, "x")
        record.note(EPOCH, 2, "other")
        ledger = Ledger(
            Ack(channel, EPOCH, offset, "x") for channel, offset in [("a", 1), ("a", 2), ("a", 3), ("b", 1)]
        )
        assert ledger.misplaced({"a": record}) == 1


def test_tallies_add_up() -> None:
    """Each count by itself; clean only where all are zero."""
    total = Tally(1, 2, 3, 4)
    total.add(Tally(10, 20, 30, 40))
    assert total == Tally(11, 22, 33, 44)
    assert [Tally(*(int(at == place) for at in range(4))).clean for place in range(5)] == [False] * 4 + [True]
