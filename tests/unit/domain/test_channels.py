"""Channel names and grant patterns, as tables."""

import pytest

from server.domain.channels import MAX_CHANNEL_CHARS, channel_name, is_pattern
from server.domain.errors import BadRequest

NAMES = [
    "a",
    "0",
    "room",
    "room:42",
    "dm:alice:bob",
    "a.b_c-d",
    "room:-dash.first_in-a-later:segment",
    "a" * MAX_CHANNEL_CHARS,
    "dm:123e4567-e89b-12d3-a456-426614174000:123e4567-e89b-12d3-a456-426614174001",
]
NO_NAMES = [
    "",
    ":",
    "room:",
    ":room",
    "room::1",
    "Room",
    "room:A",
    "-room",
    ".room",
    "_room",
    "room 1",
    " room",
    "room\n",
    "room:1\n",
    "room/1",
    "room:*",
    "*",
    "räum",
    "room:\u0661",  # a digit, but not an ASCII one
    "\u017f",  # becomes "s" where case is folded
    "room\x00",
    "\ud800",
    "a" * (MAX_CHANNEL_CHARS + 1),
]


@pytest.mark.parametrize("text", NAMES)
def test_a_name_is_itself(text: str) -> None:
    """A well-formed name is accepted unchanged, and may stand in a grant."""
    assert channel_name(text) == text
    assert is_pattern(text)


@pytest.mark.parametrize("text", NO_NAMES, ids=ascii)
def test_anything_else_is_refused_without_being_repeated(text: str) -> None:
    """What is no name is a bad request that says what a name is, names the field, and does not echo the input."""
    with pytest.raises(BadRequest) as refused:
        channel_name(text)
    assert refused.value.details == {"field": "channel"}
    assert str(refused.value) == (
        "channel: expected lower-case segments joined by ':', such as 'room:42', at most 128 characters"
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("*", True),
        ("room*", True),
        ("room:*", True),
        ("dm:alice:*", True),
        ("dm:alice:b*", True),
        ("a" * (MAX_CHANNEL_CHARS - 1) + "*", True),
        ("a" * MAX_CHANNEL_CHARS + "*", False),
        ("", False),
        ("**", False),
        ("*room", False),
        ("ro*m", False),
        ("room:*:x", False),
        ("room::*", False),
        (":*", False),
        ("-*", False),
        ("Room:*", False),
        ("room:*\n", False),
        ("room:", False),
    ],
)
def test_a_pattern_is_a_name_or_the_start_of_one_and_a_star(text: str, expected: bool) -> None:
    """Only a trailing `*` is a wildcard, and the part before it must be able to begin a name."""
    assert is_pattern(text) is expected
