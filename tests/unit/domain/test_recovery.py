"""Whether a position can be resumed from, as a table."""

from dataclasses import replace

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.adapters import codec
from server.domain.events import EventPublished, ReactionChanged
from server.domain.identity import UserId
from server.domain.messages import Position, Tombstone
from server.domain.reactions import Reacted
from server.domain.recovery import (
    ALWAYS_FITS,
    REPLAY_BYTES,
    REPLAY_LIMIT,
    NotResumable,
    check_resumable,
    json_size,
    newest_within,
    oldest_within,
)
from server.wire import messages
from tests.doubles.samples import NOW_MS, ROOM, encoded, event, event_range, some_id

HEAD = Position("one", 5_000)


@pytest.mark.parametrize(
    ("since", "floor", "expected"),
    [
        (Position("one", 5_000), 0, None),
        (Position("one", 5_000), 5_000, None),
        (Position("one", 4_000), 0, None),
        (Position("one", 4_000), 4_000, None),
        (Position("one", 3_999), 0, NotResumable.TOO_FAR_BEHIND),
        (Position("one", 3_999), 4_000, NotResumable.EXPIRED),
        (Position("one", 0), 1, NotResumable.EXPIRED),
        (Position("one", 5_001), 0, NotResumable.AHEAD_OF_LOG),
        (Position("two", 5_000), 0, NotResumable.EPOCH_CHANGED),
        (Position("two", 9_000), 0, NotResumable.EPOCH_CHANGED),
        (Position("two", 0), 4_000, NotResumable.EPOCH_CHANGED),
    ],
)
def test_a_position_can_be_resumed_from_or_the_reason_is_given(
    since: Position, floor: int, expected: NotResumable | None
) -> None:
    """All events or a reason: the epoch is checked first, then whether it is ahead, dropped, too far behind."""
    assert check_resumable(since, floor, HEAD) == expected


def test_the_limit_is_the_one_of_the_protocol() -> None:
    """PROTOCOL.md: at most 1,000 events a channel, and the reasons by these names."""
    assert REPLAY_LIMIT == 1_000
    assert [*NotResumable] == ["epoch_changed", "expired", "too_far_behind", "ahead_of_log"]
    assert check_resumable(Position("one", 4_989), 0, HEAD, limit=10) == NotResumable.TOO_FAR_BEHIND


def test_an_empty_log_can_be_resumed_from_its_beginning() -> None:
    """Offset 0 is a position like any other."""
    assert check_resumable(Position("one", 0), 0, Position("one", 0)) is None


@pytest.mark.parametrize(
    "text", ["hi", "\x01" * 4_000, "마루" * 2_000, '"' * 4_000], ids=["short", "control", "korean", "quotes"]
)
@pytest.mark.parametrize("data", [None, {"마": ["루", 1.5, None]}], ids=["bare", "data"])
def test_the_json_size_is_about_that_of_its_json(text: str, data: dict[str, object] | None) -> None:
    """Of a message it is not less than the bytes of text and data, and not much more; of an event it is exact."""
    created = event(1)
    heavy = replace(created, message=replace(created.message, text=text, data=data))
    bytes_ = len(codec.encode_event(heavy))
    assert bytes_ - 200 <= json_size(heavy.message) <= bytes_ + 450
    [once] = encoded([heavy])
    assert 2 * json_size(once) + len("[]") - len(",") == len(orjson.dumps(messages.events([once, once])))


def test_an_item_without_text_has_the_size_of_its_envelope() -> None:
    """A tombstone."""
    assert json_size(Tombstone(some_id(1), ROOM, 1)) < 1_000


@given(
    st.lists(st.text(max_size=20).map(UserId), max_size=5).map(tuple),
    st.lists(st.text(min_size=1, max_size=32), max_size=5, unique=True),
)
def test_mentions_reactions_and_events_are_measured(users: tuple[UserId, ...], emojis: list[str]) -> None:
    """Not less than their bytes in UTF-8, and not more than the envelope over that."""
    reactions = tuple(Reacted(emoji, 5_000, users) for emoji in emojis)
    message = replace(event(1).message, mentions=users, reactions=reactions)
    place = (ROOM, "one", 1, NOW_MS)
    changed = ReactionChanged(*place, message.id, reactions)
    published = EventPublished(*place, "order", message.author, [*users, *emojis], None)
    content = sum(len(text.encode()) for text in (*users * (len(emojis) + 1), *emojis))
    for item, least in (
        (message, content),
        (changed, content - sum(len(user.encode()) for user in users)),
        (published, sum(len(text.encode()) for text in (*users, *emojis))),
    ):
        assert least <= json_size(item) <= 6 * least + 1_500


def test_as_much_as_fits_is_given_from_either_end() -> None:
    """The newest or the oldest items, whole; all of them if they fit, or are so few that they always fit."""
    events = encoded(event_range(100, 140))
    budget = 20 * json_size(events[-1])
    assert newest_within(events, budget) == events[20:]
    assert oldest_within(events, budget) == events[:20]
    assert newest_within(events) == oldest_within(events) == events
    assert newest_within(events[:ALWAYS_FITS], 0) == events[:ALWAYS_FITS]
    assert newest_within(events, 0) == ()
    widest = UserId("\U0001d566" * 128)
    reactions = tuple(Reacted(chr(0x1F600 + number) * 32, 5_000, (widest,) * 10) for number in range(20))
    largest = replace(event(1).message, text="\x01" * 4_000, mentions=(widest,) * 50, reactions=reactions)
    assert ALWAYS_FITS * (len(orjson.dumps(messages.message(largest))) + 8_192 + 1_000) < REPLAY_BYTES
