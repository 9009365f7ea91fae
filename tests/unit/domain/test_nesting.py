"""How deep a JSON value is nested."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.domain.nesting import is_deeper
from tests.doubles.samples import nested


@given(st.integers(1, 40), st.integers(1, 40))
def test_lists_and_objects_count_as_levels(levels: int, limit: int) -> None:
    """Nested lists are deeper than any smaller number of levels; an object around them is one level more."""
    assert is_deeper(nested(levels), limit) == (levels > limit)
    assert is_deeper({"a": 1, "b": nested(levels)}, limit + 1) == (levels > limit)


@pytest.mark.parametrize("value", ["text", 7, None, True])
def test_a_plain_value_has_no_level(value: object) -> None:
    """A value that is no list and no object is never too deep."""
    assert not is_deeper(value, 1)


def test_a_hostile_value_does_not_exhaust_the_stack() -> None:
    """A value that is nested far beyond Python's recursion limit is judged like any other."""
    assert is_deeper(nested(100_000), 32)
