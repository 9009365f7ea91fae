"""The marker in each message of a benchmark."""

import pytest

from bench.marker import MARKER, text_of


@pytest.mark.parametrize("size", [1, 64, 4_000])
def test_a_text_has_one_marker(size: int) -> None:
    """It is as long as was asked, and is counted once."""
    text = text_of(size).encode()
    assert (len(text), text.count(MARKER)) == (size, 1)
