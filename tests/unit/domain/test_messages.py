"""Message ids."""

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.domain.messages import message_id

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


@pytest.mark.parametrize("unix_ms", [-1, 2**48])
def test_a_time_that_has_no_room_is_refused(unix_ms: int) -> None:
    """An id has 48 bits for it."""
    with pytest.raises(OverflowError):
        message_id(unix_ms, bytes(10))
