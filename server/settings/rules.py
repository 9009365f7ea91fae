"""Parse `MARU_CHANNEL_RULES`: the rules by channel pattern, as JSON or in a file.

Each error is a single line that names the pattern and the rule at fault.
"""

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, TypeVar

from server.domain.channels import is_pattern
from server.domain.hooks import Hook, HookFailure
from server.domain.rules import PresenceDetail, Rule
from server.settings import values
from server.settings.json_text import read_object, text_or_file

MAX_SLOW_MODE_S = 86_400.0
"""A day: a longer wait is no slow mode."""

MAX_SHOWN_TO = 10_000
"""Members up to which receipts and typing can be shown: in larger channels they would be most of the traffic."""

MAX_RETENTION_EVENTS = 2**53 - 1
"""As of `MARU_RETENTION_EVENTS`."""

MAX_RETENTION_S = 36_500 * 86_400.0
"""As of `MARU_RETENTION_AGE`: a hundred years."""

MAX_RULES = 10_000
"""Patterns, far more than anybody tells apart."""

Word = TypeVar("Word", bound=StrEnum)


def rules(value: object) -> object:
    """Read the rules by pattern, given as JSON or as a file's path. Raises `ValueError`."""
    if not isinstance(value, str):
        return value
    given = read_object(text_or_file(value), 'a JSON object such as {"room:*": {"slow_mode_s": 5}}, or a path')
    if len(given) > MAX_RULES:
        raise ValueError(f"more than {MAX_RULES} patterns")
    return {pattern: _rule(pattern, named) for pattern, named in given.items()}


def shown(rule: Rule) -> Mapping[str, object]:
    """Return a rule as it can be set: the keys that differ from the default."""
    default = Rule()
    return {
        key: _written(getattr(rule, field))
        for key, (field, _) in KEYS.items()
        if getattr(rule, field) != getattr(default, field)
    }


def _written(value: object) -> object:
    return sorted(value) if isinstance(value, frozenset) else value


def _rule(pattern: str, given: object) -> Rule:
    if not is_pattern(pattern):
        raise ValueError(f"{pattern!r} is no channel name or pattern")
    if not isinstance(given, dict):
        raise ValueError(f"{pattern}: expected a JSON object of rules")  # noqa: TRY004  # pydantic shows only a ValueError
    fields: dict[str, Any] = {}
    for key, value in given.items():
        if key not in KEYS:
            raise ValueError(f"{pattern}: unknown rule {key!r}; expected one of {', '.join(KEYS)}")
        field, read = KEYS[key]
        try:
            fields[field] = read(value)
        except ValueError as error:
            raise ValueError(f"{pattern}: {key}: {error}") from None
    return Rule(**fields)


def _slow_mode(given: object) -> float:
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 <= given <= MAX_SLOW_MODE_S:
        raise ValueError(f"expected seconds from 0 to {MAX_SLOW_MODE_S:.0f}")
    return float(given)


def _number(least: int, most: int, of: str) -> Callable[[object], int]:
    def read(given: object) -> int:
        if isinstance(given, bool) or not isinstance(given, int) or not least <= given <= most:
            raise ValueError(f"expected a whole number of {of} from {least} to {most}")
        return given

    return read


def _age(given: object) -> float:
    if isinstance(given, str | int | float):
        seconds = values.duration(given)
        if 1 <= seconds <= MAX_RETENTION_S:
            return seconds
    raise ValueError("expected a duration from 1s to 36500d")


def _word(words: type[Word]) -> Callable[[object], Word]:
    def read(given: object) -> Word:
        found = next((word for word in words if word == given), None)
        if found is None:
            raise ValueError(f"expected one of {', '.join(words)}")
        return found

    return read


def _hooks(given: object) -> frozenset[Hook]:
    expected = f"expected a list of some of {', '.join(Hook)}, each once"
    if not isinstance(given, list) or any(name not in list(Hook) for name in given):
        raise ValueError(expected)
    hooks = frozenset(Hook(name) for name in given)
    if len(hooks) < len(given):
        raise ValueError(expected)
    return hooks


def _truth(given: object) -> bool:
    if not isinstance(given, bool):
        raise ValueError("expected true or false")  # noqa: TRY004  # pydantic shows only a ValueError
    return given


KEYS: Mapping[str, tuple[str, Callable[[object], Any]]] = {
    "presence": ("presence", _word(PresenceDetail)),
    "receipts": ("receipts", _number(0, MAX_SHOWN_TO, "members")),
    "retention_events": ("retention_events", _number(1, MAX_RETENTION_EVENTS, "events")),
    "retention_age": ("retention_age_s", _age),
    "hooks": ("hooks", _hooks),
    "hook_failure": ("hook_failure", _word(HookFailure)),
    "slow_mode_s": ("slow_mode_s", _slow_mode),
    "typing": ("typing", _number(0, MAX_SHOWN_TO, "members")),
    "auto_follow": ("auto_follow", _truth),
}
"""Each rule's name, its field, and the function that reads it."""
