"""Parse the settings of rates and of rules, which are JSON: `MARU_LIMITS`, `MARU_LIMIT_TIERS`, `MARU_CHANNEL_RULES`.

Each error is a single line that names the part at fault.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from server.domain.channels import is_pattern
from server.domain.gcra import Rate
from server.domain.rates import DEFAULTS, IN_TIERS, MAX_RATE, OFF, Bucket, Rates, replaced
from server.domain.rules import Rule

MAX_TIERS = 1_000
"""Far more than anybody tells apart."""

MAX_TIER_CHARS = 64
"""Of a tier's name."""

MAX_SLOW_MODE_S = 86_400.0
"""A day: a longer wait is no slow mode."""

LATER_RULES = (
    "presence",
    "receipts",
    "retention_events",
    "retention_age",
    "hooks",
    "hook_failure",
    "typing",
    "auto_follow",
)
"""Rules whose names are fixed, and that this version does not know yet."""


def limits(value: object) -> object:
    """Read `off`, or the rates that replace single defaults. Return the rates that hold. Raises `ValueError`."""
    if not isinstance(value, str):
        return value
    if value.strip().lower() == "off":
        return {}
    return replaced(DEFAULTS, _rates(_object(value, 'off, or a JSON object such as {"send_user": [10, 50]}'), Bucket))


def tiers(value: object) -> object:
    """Read the rates that a tier replaces, by its name. Raises `ValueError`."""
    if not isinstance(value, str):
        return value
    given = _object(value, 'a JSON object such as {"bot": {"send_user": [200, 1000]}}')
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


def rules(value: object) -> object:
    """Read the rules by pattern, given as JSON or as a file's path. Raises `ValueError`."""
    if not isinstance(value, str):
        return value
    text = value if value.lstrip().startswith("{") else _text_of(Path(value))
    return {
        pattern: _rule(pattern, given)
        for pattern, given in _object(text, 'a JSON object such as {"room:*": {"slow_mode_s": 5}}, or a path').items()
    }


def _object(text: str, expected: str) -> dict[str, Any]:
    try:
        found = json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        doubled = str(error) if isinstance(error, _DoubleError) else None
        raise ValueError(doubled or f"expected {expected}") from None
    if not isinstance(found, dict):
        raise ValueError(f"expected {expected}")  # noqa: TRY004  # pydantic shows only a ValueError
    return found


class _DoubleError(ValueError):
    """A name stands twice in an object, so that it is not clear what is meant."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise _DoubleError(f"{next(name for name in names if names.count(name) > 1)!r} stands there twice")
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


def _rule(pattern: str, given: object) -> Rule:
    if not is_pattern(pattern):
        raise ValueError(f"{pattern!r} is no channel name or pattern")
    if not isinstance(given, dict):
        raise ValueError(f"{pattern}: expected a JSON object of rules")  # noqa: TRY004  # pydantic shows only a ValueError
    for key in given:
        if key in LATER_RULES:
            raise ValueError(f"{pattern}: the rule {key!r} is not supported yet")
        if key != "slow_mode_s":
            raise ValueError(f"{pattern}: unknown rule {key!r}; this version knows slow_mode_s")
    seconds = given.get("slow_mode_s", 0)
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds <= MAX_SLOW_MODE_S:
        raise ValueError(f"{pattern}: slow_mode_s: expected seconds from 0 to {MAX_SLOW_MODE_S:.0f}")
    return Rule(float(seconds))


def _text_of(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, ValueError):
        raise ValueError(
            f"expected JSON, or the path of a JSON file that can be read; {str(path)!r} is neither"
        ) from None
