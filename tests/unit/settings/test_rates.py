"""`MARU_LIMITS` and `MARU_LIMIT_TIERS`: what they mean, and what stops the start."""

import json
from typing import Any

import pytest

from server.domain.gcra import Rate
from server.domain.rates import DEFAULTS, Bucket
from server.settings.errors import BadSetting
from server.settings.load import describe


def test_single_rates_are_replaced(env: Any) -> None:
    """The others stay; `[0, 0]` takes a bucket out."""
    settings = env(LIMITS='{"send_user": [0.5, 5], "session": [0, 0]}')
    expected = {**DEFAULTS, Bucket.SEND: Rate(0.5, 5)}
    del expected[Bucket.SESSION]
    assert settings.limits == expected


def test_an_empty_object_is_the_defaults(env: Any) -> None:
    """Nothing is replaced."""
    assert env(LIMITS="{}").limits == DEFAULTS


@pytest.mark.parametrize("off", ["off", "OFF", " off "])
def test_off(env: Any, off: str) -> None:
    """No bucket limits anything, and `config` says so."""
    settings = env(LIMITS=off)
    assert settings.limits == {}
    assert {entry.variable: entry.value for entry in describe(settings)}["MARU_LIMITS"] == "off"


def test_tiers(env: Any) -> None:
    """A tier names what it replaces, also `[0, 0]`."""
    settings = env(LIMIT_TIERS='{"bot": {"send_user": [200, 1000], "session": [0, 0]}}')
    assert settings.limit_tiers == {"bot": {Bucket.SEND: Rate(200.0, 1000), Bucket.SESSION: Rate(0.0, 0)}}


def test_describe_shows_what_could_be_set(env: Any) -> None:
    """`config` writes rates and tiers as JSON that can be set as it is."""
    given = {"LIMIT_TIERS": '{"bot": {"send_user": [200.0, 1000]}}'}
    entries = {entry.variable: entry.value for entry in describe(env(LIMITS='{"send_user": [3, 4]}', **given))}
    assert json.loads(entries["MARU_LIMITS"]) == {
        str(bucket): [rate.per_s, rate.burst] for bucket, rate in {**DEFAULTS, Bucket.SEND: Rate(3.0, 4)}.items()
    }
    assert {name: entries[f"MARU_{name}"] for name in given} == given


WRONG = {
    "no bucket": ("LIMITS", '{"sends": [1, 2]}', "'sends' is an unknown bucket; expected one of session, send_user,"),
    "no JSON": ("LIMITS", "on", 'expected off, or a JSON object such as {"send_user": [10, 50]}'),
    "a list": ("LIMITS", "[1, 2]", "expected off, or a JSON object"),
    "deep": ("LIMITS", "[" * 100_000, "expected off, or a JSON object"),
    "one number": ("LIMITS", '{"session": [1]}', "session: expected [rate a second, burst], such as [10, 50]"),
    "no list": ("LIMITS", '{"session": 1}', "session: expected [rate a second, burst]"),
    "words": ("LIMITS", '{"session": ["1", 2]}', "session: expected [rate a second, burst]"),
    "truth": ("LIMITS", '{"session": [true, 2]}', "session: expected [rate a second, burst]"),
    "true burst": ("LIMITS", '{"session": [1, true]}', "session: expected [rate a second, burst]"),
    "no rate": ("LIMITS", '{"session": [0, 2]}', "session: expected [rate a second, burst]"),
    "no burst": ("LIMITS", '{"session": [2, 0]}', "session: expected [rate a second, burst]"),
    "below zero": ("LIMITS", '{"session": [-1, 2]}', "session: expected [rate a second, burst]"),
    "half a burst": ("LIMITS", '{"session": [1, 2.5]}', "session: expected [rate a second, burst]"),
    "infinite": ("LIMITS", '{"session": [1e999, 2]}', "session: expected [rate a second, burst]"),
    "no number": ("LIMITS", '{"session": [NaN, 2]}', "session: expected [rate a second, burst]"),
    "twice": ("LIMITS", '{"session": [1, 2], "session": [3, 4]}', "'session' stands there twice"),
    "tiers off": ("LIMIT_TIERS", "off", "expected a JSON object such as"),
    "tier of no buckets": ("LIMIT_TIERS", '{"bot": [1, 2]}', "tier 'bot': expected a JSON object of buckets"),
    "tier of the cluster": ("LIMIT_TIERS", '{"bot": {"channel": [1, 2]}}', "tier 'bot': 'channel' is no bucket of a"),
    "tier with a fault": ("LIMIT_TIERS", '{"bot": {"session": [1]}}', "tier 'bot': session: expected [rate"),
    "tier without a name": ("LIMIT_TIERS", '{"": {}}', "expected names of tiers of 1 to 64 characters"),
    "many tiers": (
        "LIMIT_TIERS",
        json.dumps({str(number): {} for number in range(1_001)}),
        "more than 1000 tiers",
    ),
}


@pytest.mark.parametrize(("name", "value", "line"), WRONG.values(), ids=WRONG)
def test_a_fault_stops_the_start(env: Any, name: str, value: str, line: str) -> None:
    """A single line that names the variable and the part at fault."""
    with pytest.raises(BadSetting) as refused:
        env(**{name: value})
    assert str(refused.value).startswith(f"MARU_{name}: {line}")
    assert "\n" not in str(refused.value)
