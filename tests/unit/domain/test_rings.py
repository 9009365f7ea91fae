"""Rings: the last events of each channel as they go out, without a gap, within one bound for all."""

from sys import getsizeof

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.domain.events import Event, MessageDeleted, MessageEdited
from server.domain.rings import ENTRY_BYTES, RING_BYTES, RING_LIMIT, EncodedEvent, Ring, Rings, merge
from server.wire.messages import encode
from tests.doubles.samples import ROOM, encoded, event, event_range, sample_rings, some_id, unknown


def filled(rings: Rings, *events: Event) -> Ring:
    """A ring into which the events were delivered."""
    ring = Ring(rings)
    for one in events:
        ring.push(encode(one))
    return ring


def edit(offset: int, of: int) -> MessageEdited:
    """An edit of the message that was created at an offset."""
    made = event(of)
    return MessageEdited(made.channel, made.epoch, offset, made.at, made.message)


def deletion(offset: int, of: int) -> MessageDeleted:
    """The deletion of the message that was created at an offset."""
    return MessageDeleted(ROOM, "one", offset, event(offset).at, some_id(of))


def memory(events: tuple[EncodedEvent, ...]) -> int:
    """What the events should be counted as."""
    return sum(ENTRY_BYTES + getsizeof(one.json) for one in events)


@given(st.lists(st.integers(1, 12), max_size=60))
def test_a_ring_is_the_dense_end_of_what_was_pushed(pushed: list[int]) -> None:
    """Whatever is pushed, the ring holds the last events that follow one another, and counts their memory."""
    rings = sample_rings()
    ring = Ring(rings)
    expected: list[Event] = []
    for offset in pushed:
        if expected and expected[-1].offset + 1 != offset:
            expected = []
        expected.append(event(offset))
        ring.push(encode(event(offset)))
        for after in range(14):
            assert (*ring.after(after),) == encoded(kept for kept in expected if kept.offset > after)
        assert rings.size == ring.size == memory(encoded(expected))


def test_an_empty_ring_has_nothing() -> None:
    """A new ring and a cleared ring are empty, and a cleared ring starts over at any offset."""
    rings = sample_rings()
    ring = Ring(rings)
    assert ring.after(0) == ()
    ring.push(encode(event(1)))
    ring.clear()
    assert (ring.after(0), rings.size) == ((), 0)
    ring.push(encode(event(9)))
    assert (*ring.after(0),) == encoded([event(9)])


def test_a_ring_keeps_so_many_events() -> None:
    """The oldest go first: beyond `RING_LIMIT` events, and beyond `RING_BYTES`, but never the last event."""
    rings = sample_rings()
    ring = filled(rings, *event_range(0, RING_LIMIT + 5))
    assert (*ring.after(0),) == encoded(event_range(5, RING_LIMIT + 5))
    large = [
        EncodedEvent(offset, "message:created", b"x" * (RING_BYTES // 3), None, deletes=False) for offset in (1, 2, 3)
    ]
    ring = Ring(rings)
    for one in large:
        ring.push(one)
    assert [*ring.after(0)] == large[1:]
    ring.push(EncodedEvent(4, "message:created", b"x" * RING_BYTES, None, deletes=False))
    assert [one.offset for one in ring.after(0)] == [4]


def test_the_least_recently_used_ring_goes_first() -> None:
    """A delivery and a replay are both a use; the rings of all channels stay within the budget."""
    rings = sample_rings(budget=memory(encoded(event_range(10, 40))))
    first, second, third = (filled(rings, *event_range(10, 20)) for _ in range(3))
    assert rings.evicted == 0
    assert first.replay(18, 20, ()) == [*encoded(event_range(18, 20))]
    third.push(encode(event(21)))
    assert (len(first.after(0)), len(second.after(0)), len(third.after(0))) == (10, 0, 11)
    filled(rings, *event_range(10, 30))
    assert (len(first.after(0)), len(third.after(0)), rings.evicted) == (0, 0, 3)
    assert rings.size == memory(encoded(event_range(10, 30)))


def test_a_ring_over_the_whole_budget_is_emptied_itself() -> None:
    """The bound holds for a single ring, too."""
    rings = sample_rings(budget=1_000)
    ring = filled(rings, event(1), event(2), event(3))
    assert (rings.size, rings.evicted, ring.after(0)) == (ring.size, 1, [encode(event(3))][: len(ring.after(0))])
    assert rings.size <= 1_000


def test_a_replay_fills_the_ring() -> None:
    """Events of the log that the ring lacked are kept: the next client is served without the log."""
    rings = sample_rings()
    ring = filled(rings, *event_range(7, 9))
    assert ring.replay(2, 9, ()) is None
    assert ring.replay(2, 9, event_range(2, 8)) == [*encoded(event_range(2, 9))]
    assert ring.replay(2, 9, ()) == [*encoded(event_range(2, 9))]
    assert rings.size == memory(encoded(event_range(2, 9)))
    assert ring.replay(9, 9, ()) == []
    many = RING_LIMIT + 50
    fresh = Ring(rings)
    replayed = fresh.replay(0, many, event_range(0, many))
    assert replayed == [*encoded(event_range(0, many))]
    assert (*fresh.after(0),) == encoded(event_range(50, many))


def test_a_deleted_message_leaves_no_text_in_the_ring() -> None:
    """Its creation and its edits become its place: offset, time and id, and the memory is counted anew."""
    rings = sample_rings()
    ring = filled(rings, event(1), event(2), edit(3, of=1), deletion(4, of=1))
    kept = [orjson.loads(one.json) for one in ring.after(0)]
    gone = {"id": some_id(1), "channel": ROOM, "deleted": True, "offset": 1}
    assert [body["message"] for body in (kept[0], kept[2])] == [gone, gone]
    assert [one.name for one in ring.after(0)] == [
        "message:created",
        "message:created",
        "message:edited",
        "message:deleted",
    ]
    assert [body["offset"] for body in kept] == [1, 2, 3, 4]
    assert kept[1]["message"]["text"] == "number 2"
    assert rings.size == memory((*ring.after(0),))


def test_a_replay_has_no_text_of_a_message_that_the_ring_saw_deleted() -> None:
    """The log was read before the deletion, which reached the ring meanwhile: the slice of the log is erased, too."""
    ring = filled(sample_rings(), deletion(3, of=1))
    replayed = ring.replay(0, 3, [event(1), event(2)])
    assert replayed is not None
    assert b"number 1" not in b"".join(one.json for one in (*replayed, *ring.after(0)))
    assert b"number 2" in replayed[1].json


def test_an_event_of_an_unknown_kind_takes_its_place() -> None:
    """It is kept, since the ring is dense, and it takes memory; it has no name and no JSON."""
    rings = sample_rings()
    ring = filled(rings, event(1), unknown(2), event(3), deletion(4, of=3))
    assert [one.offset for one in ring.after(0)] == [1, 2, 3, 4]
    assert (ring.after(0)[1].name, ring.after(0)[1].json) == ("", b"")
    assert ring.encode(unknown(5)).message is None


@given(
    st.integers(0, 20),
    st.integers(0, 20),
    st.lists(st.lists(st.integers(1, 22), max_size=20), max_size=3),
)
def test_merge_is_the_whole_slice_or_nothing(after: int, upto: int, found: list[list[int]]) -> None:
    """From sources that overlap, repeat and are out of order: exactly after + 1 .. upto, each once, in order, and no
    other event; None if an event is in no source."""
    merged = merge(after, upto, *(encoded(event(offset) for offset in source) for source in found))
    wanted = range(after + 1, upto + 1)
    if set(wanted) <= {offset for source in found for offset in source}:
        assert merged == [*encoded(event_range(after, upto))]
    else:
        assert merged is None


@pytest.mark.parametrize(("after", "upto"), [(5, 5), (5, 4), (0, 0)])
def test_merge_of_an_empty_slice_is_empty(after: int, upto: int) -> None:
    """Nothing was missed: that needs no source."""
    assert merge(after, upto) == []
