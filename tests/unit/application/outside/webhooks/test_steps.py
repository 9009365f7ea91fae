"""The next step for a channel: send, pass over, or tell of a gap."""

from collections.abc import Sequence

import pytest

from server.application.outside.webhooks.steps import PassOver, Step, Tell, TellOfGap, events_to_read, next_step
from server.domain.channels import ChannelName
from server.domain.dispatching import Debt
from server.domain.events import Event, MessageDeleted
from server.domain.messages import Position
from server.domain.signing import SigningKey
from server.domain.webhooks import MAX_BATCH_BYTES, Endpoint, types_of
from server.ports.message_log import Replay
from server.wire.webhooks import notice
from tests.doubles.samples import NOW_MS, ROOM, event, some_id, unknown

KEYS = (SigningKey(b"k" * 32),)


def endpoint(batch: int = 1, types: Sequence[str] = ("*",), channels: tuple[str, ...] = ()) -> Endpoint:
    """An endpoint that wants these."""
    return Endpoint("crm", "https://example.com", KEYS, types_of(types), channels, batch)


def deletion(offset: int) -> MessageDeleted:
    """The deletion at this offset."""
    return MessageDeleted(ROOM, "one", offset, NOW_MS, some_id(offset))


def step(
    to: Endpoint,
    events: Sequence[Event],
    *,
    delivered: Position | None = None,
    floor: int = 0,
    head: Position | None = None,
    until: int | None = None,
    begins: Position | None = None,
) -> Step:
    """Return the step for a channel whose log has these events behind the place."""
    place = delivered or Position("one", events[0].offset - 1)
    replay = Replay(floor, head or Position("one", events[-1].offset), events)
    return next_step(to, Debt(ROOM, place, begins), replay, until, notice, NOW_MS)


def test_a_single_event() -> None:
    """Without a batch, each event has a request."""
    told = step(endpoint(), [event(4)])
    assert told == Tell(4, 4, Position("one", 4), [event(4)], [notice(event(4))])


def test_a_batch() -> None:
    """As many as the endpoint takes at once; the place is before the next that it wants."""
    told = step(endpoint(batch=2), [event(offset) for offset in (1, 2, 3)])
    assert isinstance(told, Tell)
    assert (told.first, told.last, told.to.offset) == (1, 2, 2)


def test_the_next_try_has_the_same_events() -> None:
    """More have come meanwhile; they wait for the next request."""
    told = step(endpoint(batch=100), [event(offset) for offset in (1, 2, 3)], until=2)
    assert isinstance(told, Tell)
    assert (told.first, told.last, told.to.offset) == (1, 2, 2)


def test_a_batch_is_bounded_in_bytes() -> None:
    """Events that do not fit wait for the next request; a single event always fits."""

    def large(_: object) -> bytes:
        return b"x" * (MAX_BATCH_BYTES // 3)

    debt = Debt(ROOM, Position("one", 0))
    replay = Replay(0, Position("one", 5), [event(offset) for offset in range(1, 6)])
    told = next_step(endpoint(batch=100), debt, replay, None, large, NOW_MS)
    assert isinstance(told, Tell)
    assert (told.first, told.last, told.to.offset) == (1, 2, 2)
    told = next_step(endpoint(batch=100), debt, replay, None, lambda _: b"x" * (MAX_BATCH_BYTES + 1), NOW_MS)
    assert isinstance(told, Tell)
    assert told.last == 1


def test_events_that_are_not_wanted_are_passed_over() -> None:
    """Before, between and behind those that are; entries of an unknown kind, too."""
    events: list[Event] = [event(1), deletion(2), unknown(3), deletion(4), event(5)]
    told = step(endpoint(batch=9, types=["message.deleted"]), events)
    assert isinstance(told, Tell)
    assert (told.first, told.last, told.to.offset) == (2, 4, 5)
    assert told.events == [deletion(2), deletion(4)]
    assert step(endpoint(types=["message.edited"]), events) == PassOver(Position("one", 5))


def test_a_channel_that_is_not_covered_is_passed_over() -> None:
    """Up to its head, without reading its events."""
    ops = endpoint(channels=("ops:*",))
    assert events_to_read(ops, Debt(ROOM, Position("one", 0))) == 0
    assert step(ops, [event(1)], head=Position("one", 9)) == PassOver(Position("one", 9))


@pytest.mark.parametrize(("types", "batch", "limit"), [(["*"], 1, 1), (["*"], 7, 7), (["message.deleted"], 1, 100)])
def test_as_much_is_read_as_is_needed(types: list[str], batch: int, limit: int) -> None:
    """More if some will be passed over."""
    assert events_to_read(endpoint(batch, types), Debt(ROOM, Position("one", 0))) == limit


def test_the_log_has_nothing_to_tell() -> None:
    """The place is brought to the head."""
    at = Position("one", 7)
    assert step(endpoint(), [], delivered=at, head=at) == PassOver(at)


def test_retention_was_faster() -> None:
    """The endpoint is told of the gap, and goes on behind it."""
    told = step(endpoint(), [], delivered=Position("one", 2), floor=8, head=Position("one", 9))
    assert isinstance(told, TellOfGap)
    assert (told.gap.start, told.gap.end, told.gap.reason) == (Position("one", 2), Position("one", 8), "expired")


def test_a_log_that_was_lost() -> None:
    """The gap goes from the old epoch to the place in the new epoch."""
    told = step(endpoint(), [], delivered=Position("zero", 5), head=Position("one", 9), begins=Position("one", 3))
    assert isinstance(told, TellOfGap)
    assert told.gap.channel == ChannelName("room:1")
    assert (told.gap.start, told.gap.end, told.gap.reason) == (
        Position("zero", 5),
        Position("one", 3),
        "epoch_changed",
    )
    told = step(
        endpoint(), [], delivered=Position("zero", 5), head=Position("one", 9), begins=Position("one", 3), floor=4
    )
    assert isinstance(told, TellOfGap)
    assert told.gap.end == Position("one", 4)
