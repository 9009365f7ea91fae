"""Message ids and the states of a message."""

import uuid
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.domain.drafts import Revision, created, revised
from server.domain.messages import Position, message_id
from tests.doubles.samples import ROOM, new_message, some_id

UNIX_MS = st.integers(0, 2**48 - 1)
RANDOMNESS = st.binary(min_size=10, max_size=10)


@given(UNIX_MS, RANDOMNESS)
def test_a_message_id_is_a_uuidv7(unix_ms: int, randomness: bytes) -> None:
    """RFC 9562: 48 bits of time, version 7, 12 random bits, variant 0b10, 62 random bits, in canonical text."""
    text = message_id(unix_ms, randomness)
    parsed = uuid.UUID(text)
    assert str(parsed) == text
    assert parsed.version == 7
    assert parsed.variant == uuid.RFC_4122
    assert parsed.int >> 80 == unix_ms
    randoms = int.from_bytes(randomness, "big")
    assert parsed.int >> 64 & 0xFFF == randoms >> 64 & 0xFFF
    assert parsed.int & (2**62 - 1) == randoms & (2**62 - 1)


def test_the_example_of_the_rfc() -> None:
    """RFC 9562, appendix A.6: 2022-02-22T19:22:22Z with the random bits of the example."""
    randomness = bytes.fromhex("0cc318c4dc0c0c07398f")
    assert message_id(0x017F22E279B0, randomness) == "017f22e2-79b0-7cc3-98c4-dc0c0c07398f"


@given(UNIX_MS, UNIX_MS, RANDOMNESS, RANDOMNESS)
def test_ids_sort_by_time(one: int, other: int, randomness: bytes, more: bytes) -> None:
    """Whatever the random part, an id of an earlier millisecond sorts first, as text."""
    if one < other:
        assert message_id(one, randomness) < message_id(other, more)


@pytest.mark.parametrize("size", [0, 9, 11])
def test_the_wrong_amount_of_randomness_is_refused(size: int) -> None:
    """Too few random bytes would make ids that collide: nothing is made of them."""
    with pytest.raises(ValueError, match=f"expected 10 bytes, got {size}"):
        message_id(0, bytes(size))


def test_a_post_becomes_a_creation_where_the_log_puts_it() -> None:
    """The event and its message carry the position, the post's content, and the first version."""
    draft = replace(new_message(1, key="k"), data={"a": 1}, reply_to=some_id(9))
    creation = created(draft, Position("one", 7))
    message = creation.message
    assert (creation.channel, creation.epoch, creation.offset, creation.at) == (ROOM, "one", 7, draft.at)
    assert (message.id, message.channel, message.author) == (draft.id, ROOM, draft.author)
    assert (message.text, message.data, message.reply_to, message.key) == (draft.text, {"a": 1}, some_id(9), "k")
    assert (message.created_at, message.edited_at, message.version, message.offset) == (draft.at, None, 1, 7)


@pytest.mark.parametrize(
    ("keep", "data", "expected"), [(True, None, {"old": 1}), (False, None, None), (False, {"new": 2}, {"new": 2})]
)
def test_a_revision_is_the_next_version_in_the_old_place(
    keep: bool, data: dict[str, int] | None, expected: dict[str, int] | None
) -> None:
    """Text, `edited_at` and version move on, `data` as the revision says; everything else stays, the offset too."""
    first = created(replace(new_message(1, key="k"), data={"old": 1}), Position("one", 7)).message
    revision = Revision(ROOM, first.id, "better", data, keep_data=keep, at=first.created_at + 5)
    assert revised(first, revision) == replace(
        first, text="better", data=expected, edited_at=first.created_at + 5, version=2
    )
    assert revised(revised(first, revision), revision).version == 3
