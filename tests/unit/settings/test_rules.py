"""`MARU_CHANNEL_RULES`: what it means, and what stops the start."""

import json
from pathlib import Path
from typing import Any

import pytest

from server.domain.hooks import Hook, HookFailure
from server.domain.rules import PresenceDetail, Rule
from server.settings.errors import BadSetting
from server.settings.json_text import MAX_FILE_BYTES
from server.settings.load import describe
from server.settings.rules import KEYS, MAX_RULES

EVERY_RULE = {
    "presence": "counts",
    "receipts": 50,
    "retention_events": 1000,
    "retention_age": "7d",
    "hooks": ["send", "join"],
    "hook_failure": "open",
    "slow_mode_s": 5,
    "typing": 0,
    "auto_follow": True,
}
BACKEND = {"HOOK_URL": "http://127.0.0.1/hook", "HOOK_SECRET": "whsec_" + "c2VjcmV0" * 4}
PARSED = Rule(
    slow_mode_s=5.0,
    hooks=frozenset({Hook.SEND, Hook.JOIN}),
    hook_failure=HookFailure.OPEN,
    retention_events=1000,
    retention_age_s=7 * 86_400.0,
    presence=PresenceDetail.COUNTS,
    receipts=50,
    typing=0,
    auto_follow=True,
)


def test_every_rule(env: Any, tmp_path: Path) -> None:
    """Each key of the protocol is a rule; they stand in the variable, or in a file."""
    rules = json.dumps({"room:*": EVERY_RULE, "room:quiet": {}})
    (tmp_path / "rules.json").write_text(rules)
    settings = env(**BACKEND, CHANNEL_RULES=rules)
    assert settings.channel_rules == {"room:*": PARSED, "room:quiet": Rule()}
    assert env(**BACKEND, CHANNEL_RULES=str(tmp_path / "rules.json")).channel_rules == settings.channel_rules
    assert list(KEYS) == list(EVERY_RULE)


def test_describe_shows_what_could_be_set(env: Any) -> None:
    """`config` writes rules as JSON that means the same if it is set."""
    settings = env(**BACKEND, CHANNEL_RULES=json.dumps({"a": EVERY_RULE, "b": {"slow_mode_s": 2.5}, "c": {}}))
    shown = {entry.variable: entry.value for entry in describe(settings)}["MARU_CHANNEL_RULES"]
    assert json.loads(shown)["b"] == {"slow_mode_s": 2.5}
    assert env(**BACKEND, CHANNEL_RULES=shown).channel_rules == settings.channel_rules


def of_a(rules: object) -> str:
    """Rules of the channel `a`, as JSON."""
    return json.dumps({"a": rules})


WRONG = {
    "no file": ("rules.json", "expected JSON, or the path of a JSON file that can be read; 'rules.json' is neither"),
    "half an object": ("{", 'expected a JSON object such as {"room:*": {"slow_mode_s": 5}}'),
    "a list": ("[]", 'expected a JSON object such as {"room:*": {"slow_mode_s": 5}}'),
    "twice": ('{"a": {}, "a": {}}', "'a' stands there twice"),
    "many": (json.dumps({f"a{number}": {} for number in range(MAX_RULES + 1)}), f"more than {MAX_RULES} patterns"),
    "no pattern": ('{"A": {}}', "'A' is no channel name or pattern"),
    "no rules": (of_a(5), "a: expected a JSON object of rules"),
    "unknown": (of_a({"slow": 5}), "a: unknown rule 'slow'; expected one of presence, receipts, retention_events,"),
    "slower than a day": (of_a({"slow_mode_s": 86_401}), "a: slow_mode_s: expected seconds from 0 to 86400"),
    "faster than at once": (of_a({"slow_mode_s": -1}), "a: slow_mode_s: expected seconds from 0"),
    "a slow yes": (of_a({"slow_mode_s": True}), "a: slow_mode_s: expected seconds from 0"),
    "presence": (of_a({"presence": "all"}), "a: presence: expected one of names, counts, off"),
    "presence of a list": (of_a({"presence": []}), "a: presence: expected one of names, counts, off"),
    "receipts": (of_a({"receipts": 10_001}), "a: receipts: expected a whole number of members from 0 to 10000"),
    "half a receipt": (of_a({"receipts": 1.5}), "a: receipts: expected a whole number of members"),
    "typing": (of_a({"typing": True}), "a: typing: expected a whole number of members"),
    "no events": (of_a({"retention_events": 0}), "a: retention_events: expected a whole number of events from 1 to"),
    "no age": (of_a({"retention_age": "0s"}), "a: retention_age: expected a duration from 1s to 36500d"),
    "an age of a list": (of_a({"retention_age": [1]}), "a: retention_age: expected a duration from 1s"),
    "an age of words": (of_a({"retention_age": "a week"}), "a: retention_age: expected a duration such as 90s"),
    "a hook": (of_a({"hooks": "send"}), "a: hooks: expected a list of some of join, send, edit, each once"),
    "other hooks": (of_a({"hooks": ["delete"]}), "a: hooks: expected a list of some of join, send, edit"),
    "a hook twice": (of_a({"hooks": ["send", "send"]}), "a: hooks: expected a list of some of join, send, edit"),
    "failure": (of_a({"hook_failure": "ajar"}), "a: hook_failure: expected one of closed, open"),
    "follow": (of_a({"auto_follow": 1}), "a: auto_follow: expected true or false"),
}


@pytest.mark.parametrize(("value", "line"), WRONG.values(), ids=WRONG)
def test_a_fault_stops_the_start(env: Any, value: str, line: str) -> None:
    """A single line that names the pattern and the rule at fault."""
    with pytest.raises(BadSetting) as refused:
        env(**BACKEND, CHANNEL_RULES=value)
    assert str(refused.value).startswith(f"MARU_CHANNEL_RULES: {line}")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("content", [b"\xff", b" " * (MAX_FILE_BYTES + 1)], ids=["no UTF-8", "too large"])
def test_a_bad_file_stops_the_start(env: Any, tmp_path: Path, content: bytes) -> None:
    """A file that is no text, or too large, is named."""
    (tmp_path / "rules.json").write_bytes(content)
    with pytest.raises(BadSetting, match=r"MARU_CHANNEL_RULES: .*rules\.json"):
        env(**BACKEND, CHANNEL_RULES="rules.json")
