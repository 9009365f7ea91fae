"""Whole numbers that JSON's parser can't keep."""

import orjson
import pytest

from server.domain.numbers import has_inexact


@pytest.mark.parametrize("text", ["18446744073709551616", "-9223372036854775809", "1" + "0" * 30, "2e19", "1e300"])
@pytest.mark.parametrize("around", ["%s", "[%s]", '{"a": [1, {"b": %s}]}', "[0.5, %s]"])
def test_a_number_of_more_than_64_bits_is_found(text: str, around: str) -> None:
    """Wherever it stands."""
    assert has_inexact(orjson.loads(around % text))


@pytest.mark.parametrize(
    "text",
    [
        "18446744073709551615",
        "9223372036854775807",
        "-9223372036854775808",
        "0.1",
        "-0.0",
        "1.0",
        "1e-300",
        "1e18",
        "9e18",
    ],
)
def test_a_number_that_is_kept_is_left_alone(text: str) -> None:
    """As a value, in a list and in an object."""
    value = orjson.loads(text)
    assert not has_inexact(value)
    assert not has_inexact({"a": [value, {"b": value}], "c": "2e19"})
