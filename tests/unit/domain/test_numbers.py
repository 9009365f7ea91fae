"""Whole numbers that JSON's parsers can't keep."""

import json

import pytest

from server.domain.numbers import is_kept

AROUND = ["%s", "[%s]", '{"a": [1, {"b": %s}]}', "[0.5, true, null, %s]"]


@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize("text", ["18446744073709551616", "-9223372036854775809", "1" + "0" * 30])
def test_a_whole_number_of_more_than_64_bits_is_not_kept(text: str, around: str) -> None:
    """Wherever it stands."""
    assert not is_kept(json.loads(around % text))


@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize(
    "text",
    [
        "18446744073709551615",
        "-9223372036854775808",
        "0.1",
        "-0.0",
        "1.0",
        "5e-324",
        "1e308",
        "-1e25",
        '"2e19"',
        "true",
    ],
)
def test_other_numbers_are_kept(text: str, around: str) -> None:
    """A floating-point number of any size, and a whole number that fits."""
    assert is_kept(json.loads(around % text))
