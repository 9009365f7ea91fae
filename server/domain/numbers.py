"""Whole numbers in the JSON of applications. Everything here takes values of bounded nesting (nesting.py)."""

from collections.abc import Iterator

MIN_WHOLE, MAX_WHOLE = -(2**63), 2**64 - 1
"""Whole numbers outside these bounds are not kept exactly: most parsers make floating-point numbers of them."""


def is_kept(value: object) -> bool:
    """Say whether each whole number of a JSON value can be kept exactly."""
    return all(MIN_WHOLE <= number <= MAX_WHOLE for number in _numbers(value) if isinstance(number, int))


def may_be_rounded(value: object) -> bool:
    """Say whether a JSON value has a number that a parser may have made of a whole number that is too large for it."""
    return any(abs(number) >= -MIN_WHOLE and number.is_integer() for number in _numbers(value) if type(number) is float)


def _numbers(value: object) -> Iterator[int | float]:
    if isinstance(value, int | float):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _numbers(inner)
