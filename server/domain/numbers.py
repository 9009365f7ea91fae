"""Whole numbers in the JSON of applications."""

MIN_WHOLE, MAX_WHOLE = -(2**63), 2**64 - 1
"""Whole numbers outside these bounds are not kept exactly: most parsers make floating-point numbers of them."""


def is_kept(value: object) -> bool:
    """Say whether each whole number of a JSON value can be kept exactly. The nesting of `value` must be bounded
    (nesting.py)."""
    if isinstance(value, dict):
        return all(map(is_kept, value.values()))
    if isinstance(value, list):
        return all(map(is_kept, value))
    return not isinstance(value, int) or MIN_WHOLE <= value <= MAX_WHOLE
