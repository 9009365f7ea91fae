"""Numbers in the JSON of applications."""

MAX_WHOLE = 2.0**63
"""The parser keeps whole numbers of 64 bits exactly, and makes a floating-point number of any larger one."""


def has_inexact(value: object) -> bool:
    """Say whether a JSON value has a whole number that is not kept exactly: of more than 64 bits.

    The nesting of `value` must be bounded (nesting.py). A number that was written as a floating-point number and is as
    large as that counts, too: the two can't be told apart any more.
    """
    if isinstance(value, float):
        return abs(value) >= MAX_WHOLE and value.is_integer()
    if isinstance(value, dict):
        return any(map(has_inexact, value.values()))
    return isinstance(value, list) and any(map(has_inexact, value))
