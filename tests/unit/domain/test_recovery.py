"""Whether a position can be resumed from, as a table."""

import pytest

from server.domain.messages import Position
from server.domain.recovery import REPLAY_LIMIT, Lapse, lapse

HEAD = Position("one", 5_000)


@pytest.mark.parametrize(
    ("since", "floor", "expected"),
    [
        (Position("one", 5_000), 0, None),
        (Position("one", 5_000), 5_000, None),
        (Position("one", 4_000), 0, None),
        (Position("one", 4_000), 4_000, None),
        (Position("one", 3_999), 0, Lapse.TOO_FAR_BEHIND),
        (Position("one", 3_999), 4_000, Lapse.EXPIRED),
        (Position("one", 0), 1, Lapse.EXPIRED),
        (Position("one", 5_001), 0, Lapse.AHEAD_OF_LOG),
        (Position("two", 5_000), 0, Lapse.EPOCH_CHANGED),
        (Position("two", 9_000), 0, Lapse.EPOCH_CHANGED),
        (Position("two", 0), 4_000, Lapse.EPOCH_CHANGED),
    ],
)
def test_a_position_can_be_resumed_from_or_the_reason_is_given(
    since: Position, floor: int, expected: Lapse | None
) -> None:
    """The whole stretch or a reason: the epoch first, then what is ahead, what is dropped, what is too much."""
    assert lapse(since, floor, HEAD) == expected


def test_the_limit_is_the_one_of_the_protocol() -> None:
    """PROTOCOL.md: at most 1,000 events a channel, and the reasons by these names."""
    assert REPLAY_LIMIT == 1_000
    assert [*Lapse] == ["epoch_changed", "expired", "too_far_behind", "ahead_of_log"]
    assert lapse(Position("one", 4_989), 0, HEAD, limit=10) == Lapse.TOO_FAR_BEHIND


def test_an_empty_log_can_be_resumed_from_its_beginning() -> None:
    """Offset 0 is a position like any other."""
    assert lapse(Position("one", 0), 0, Position("one", 0)) is None
