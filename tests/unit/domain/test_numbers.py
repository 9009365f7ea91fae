"""Whole numbers that JSON's parsers can't keep."""

import json

import orjson
import pytest

from server.domain.numbers import is_kept, may_be_rounded

AROUND = ["%s", "[%s]", '{"a": [1, {"b": %s}]}', "[0.5, true, null, %s]"]


@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize("text", ["18446744073709551616", "-9223372036854775809", "1" + "0" * 30])
def test_a_whole_number_of_more_than_64_bits_is_not_kept(text: str, around: str) -> None:
    """Wherever it stands; a fast parser rounds it, an exact parser does not."""
    assert may_be_rounded(orjson.loads(around % text))
    assert not is_kept(json.loads(around % text))


@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize("text", ["2e19", "1e308", "-1e25"])
def test_a_large_floating_point_number_is_kept(text: str, around: str) -> None:
    """It may have been rounded, and an exact parser tells that it was not."""
    assert may_be_rounded(orjson.loads(around % text))
    assert is_kept(json.loads(around % text))


@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize(
    "text", ["18446744073709551615", "-9223372036854775808", "0.1", "-0.0", "1.0", "5e-324", "9e18", '"2e19"', "true"]
)
def test_a_number_that_fits_is_left_alone(text: str, around: str) -> None:
    """As a value, in a list and in an object."""
    value = orjson.loads(around % text)
    assert not may_be_rounded(value)
    assert is_kept(value)
