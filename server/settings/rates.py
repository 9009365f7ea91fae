"""Parse the settings of rates, which are JSON: `MARU_LIMITS`, `MARU_LIMIT_TIERS`.

Each error is a single line that names the part at fault.
"""

from collections.abc import Mapping

from server.domain.gcra import Rate
from server.domain.rates import DEFAULTS, IN_TIERS, MAX_RATE, OFF, Bucket, Rates, replaced
from server.settings.json_text import read_object

MAX_TIERS = 1_000
"""Far more than anybody tells apart."""

MAX_TIER_CHARS = 64
"""Of a tier's name."""


def limits(value: object) -> object:
    """Read `off`, or the rates that replace single defaults. Return the rates that hold. Raises `ValueError`."""
    if not isinstance(value, str):
        return value
    if value.strip().lower() == "off":
        return {}
    return replaced(
        DEFAULTS, _rates(read_object(value, 'off, or a JSON object such as {"send_user": [10, 50]}'), Bucket)
    )


def tiers(value: object) -> object:
    """Read the rates that a tier replaces, by its name. Raises `ValueError`."""
    if not isinstance(value, str):
        return value
    given = read_object(value, 'a JSON object such as {"bot": {"send_user": [200, 1000]}}')
    if len(given) > MAX_TIERS:
        raise ValueError(f"more than {MAX_TIERS} tiers")
    found = {}
    for name, rates in given.items():
        if not 1 <= len(name) <= MAX_TIER_CHARS:
            raise ValueError(f"expected names of tiers of 1 to {MAX_TIER_CHARS} characters")
        if not isinstance(rates, dict):
            raise ValueError(f"tier {name!r}: expected a JSON object of buckets")  # noqa: TRY004  # pydantic shows only a ValueError
        try:
            found[name] = _rates(rates, IN_TIERS)
        except ValueError as error:
            raise ValueError(f"tier {name!r}: {error}") from None
    return found


def _rates(given: Mapping[str, object], allowed: type[Bucket] | frozenset[Bucket]) -> Rates:
    names = [str(bucket) for bucket in Bucket if bucket in allowed]
    rates = {}
    for name, rate in given.items():
        if name not in names:
            known = "no bucket of a tier" if name in list(Bucket) else "an unknown bucket"
            raise ValueError(f"{name!r} is {known}; expected one of {', '.join(names)}")
        rates[Bucket(name)] = _rate(name, rate)
    return rates


def _rate(name: str, given: object) -> Rate:
    match given:
        case [0, 0]:
            return OFF
        case [int() | float() as per_s, int() as burst] if not (isinstance(per_s, bool) or isinstance(burst, bool)):
            if 0 < per_s <= MAX_RATE and 1 <= burst <= MAX_RATE:
                return Rate(float(per_s), burst)
    raise ValueError(
        f"{name}: expected [rate a second, burst], such as [10, 50]; the rate over 0, the burst a whole number from 1,"
        f" both at most {MAX_RATE:.0f}; or [0, 0] for no limit"
    )
