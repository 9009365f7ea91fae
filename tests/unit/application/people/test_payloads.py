"""The payloads of reactions and of events of applications: every field's bounds, as a table."""

from collections.abc import Mapping
from typing import Any

import pytest

from server.application.commands import Command
from server.application.people.payloads import Publish, React, ReadEvents
from server.domain.errors import BadRequest, MaruError, PayloadTooLarge
from server.domain.limits import DEFAULT_PAGE
from tests.doubles.samples import nested

COMPLETE: Mapping[type[Command], dict[str, Any]] = {
    React: {"channel": "room:1", "id": "m", "emoji": "👍"},
    Publish: {"channel": "room:1", "name": "order.paid", "data": None},
    ReadEvents: {"channel": "room:1"},
}
"""Of each command, the fields that it can't do without."""

NAMES = ("a", "order.paid_2-x", "a" * 64)
NO_NAMES: tuple[object, ...] = ("", "A", "1a", ".a", "a b", "a\n", "a:b", "é", "a" * 65, "\ud800", 1, ["a"], True)
EMOJIS = ("👍", "+1", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "👩‍👩‍👧", "❤️", "❤", "😀" * 32, "ab cd", "سلام", "<b>", "a/b%", "\xad")
DATA: tuple[object, ...] = (None, 0, 1.5, "x", True, [], {}, [nested(31)], "x" * 8_190, 2**64 - 1)
NO_EMOJIS: tuple[object, ...] = (
    *("", "x" * 33, "😀" * 33, "a\0", "a\n", "\x7f", "\x85", "\u2028", "\ud800", "👍\udc4d"),
    *("\u202e👍", "\u200f", "\u2066a", None, 1, True, ["👍"], {"a": 1}, b"a"),
)
FITS: list[tuple[type[Command], str, object]] = [
    *((React, "emoji", emoji) for emoji in EMOJIS),
    *((command, "name", name) for command in (Publish, ReadEvents) for name in NAMES),
    *((Publish, "data", data) for data in DATA),
    *((Publish, "key", key) for key in (None, "k", "k" * 64)),
    *((Publish, "log", log) for log in (True, False)),
    *((ReadEvents, "limit", limit) for limit in (1, 100)),
    *((ReadEvents, bound, offset) for bound in ("before", "after") for offset in (None, 0, 2**53 - 1)),
    (ReadEvents, "name", None),
]
REFUSED: list[tuple[type[Command], str, object]] = [
    *((command, "channel", channel) for command in COMPLETE for channel in ("", "Room", "a" * 129, None, 1)),
    *((React, "id", id) for id in ("", "m" * 65, "a\0", None, 1)),
    *((React, "emoji", emoji) for emoji in NO_EMOJIS),
    *((Publish, "name", name) for name in (*NO_NAMES, None)),
    *((ReadEvents, "name", name) for name in NO_NAMES),
    *((Publish, "data", data) for data in (nested(33), nested(5_000), 2**64, [-(2**63) - 1], "\ud800", {"\ud800": 1})),
    *((Publish, "key", key) for key in ("", "k" * 65, "a\n", 1)),
    *((Publish, "log", log) for log in (None, 0, 1, "true")),
    *((ReadEvents, "limit", limit) for limit in (0, 101, None, "1", True)),
    *((ReadEvents, bound, offset) for bound in ("before", "after") for offset in (-1, 2**53, "1", 1.0, False)),
]


def naming(value: object) -> str:
    """A test id that says the value, or a part of it."""
    try:
        return value.__name__ if isinstance(value, type) else ascii(value)[:24]
    except RecursionError:
        return "deep"


@pytest.mark.parametrize(("command", "field", "value"), FITS, ids=naming)
def test_a_value_within_its_bounds_is_taken_as_it_is(command: type[Command], field: str, value: object) -> None:
    """Nothing is normalized: two hearts differ by a character that nobody sees."""
    assert getattr(command.parse({**COMPLETE[command], field: value}), field) == value


@pytest.mark.parametrize(("command", "field", "value"), REFUSED, ids=naming)
def test_a_value_out_of_its_bounds_is_refused(command: type[Command], field: str, value: object) -> None:
    """The error names the field, and repeats nothing."""
    with pytest.raises(BadRequest) as refused:
        command.parse({**COMPLETE[command], field: value})
    assert str((refused.value.details or {})["field"]).partition(".")[0] == field


@pytest.mark.parametrize("command", COMPLETE, ids=naming)
def test_each_required_field_is_missed(command: type[Command]) -> None:
    """An absent `data` is none; null is a value of it."""
    for field in COMPLETE[command]:
        rest = {name: value for name, value in COMPLETE[command].items() if name != field}
        with pytest.raises(MaruError, match=f"^{field}: Field required"):
            command.parse(rest)


def test_defaults() -> None:
    """An event is logged, and a page has as many events as one of history."""
    assert Publish.parse(COMPLETE[Publish]).log
    assert ReadEvents.parse(COMPLETE[ReadEvents]).limit == DEFAULT_PAGE


def test_data_over_8_kib_are_too_large() -> None:
    """In bytes of compact JSON."""
    with pytest.raises(PayloadTooLarge) as refused:
        Publish.parse({**COMPLETE[Publish], "data": "é" * 4_096})
    assert refused.value.details == {"field": "data", "bytes": 8_194, "limit": 8_192}
