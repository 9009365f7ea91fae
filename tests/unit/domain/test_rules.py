"""Rules: the most specific pattern alone decides."""

import pytest

from server.domain import rules
from server.domain.channels import ChannelName
from server.domain.hooks import Hook
from server.domain.rules import NO_RULE, Rule, Rules

RULES = Rules({"*": Rule(1.0), "room:*": Rule(2.0), "room:quiet:*": Rule(), "room:42": Rule(3.0)})


@pytest.mark.parametrize(
    ("channel", "seconds"),
    [("lobby", 1), ("room:1", 2), ("room:42", 3), ("room:421", 2), ("room:quiet:a", 0), ("room", 1)],
)
def test_precedence(channel: str, seconds: float) -> None:
    """The exact name, else the longest prefix; asked again, the answer is the same."""
    for _ in range(2):
        assert RULES.of(ChannelName(channel)).slow_mode_s == seconds


def test_without_a_rule() -> None:
    """A channel that no pattern covers has none."""
    assert Rules({"room:*": Rule(2.0)}).of(ChannelName("dm:1")) is NO_RULE
    assert not Rules({"room:*": NO_RULE}).slows
    assert RULES.slows


def test_they_are_not_merged() -> None:
    """A rule that the most specific pattern does not name is the default, whatever a shorter pattern says."""
    some = Rules({"room:*": Rule(2.0, frozenset({Hook.SEND})), "room:42": Rule(3.0)})
    assert some.of(ChannelName("room:42")).hooks == frozenset()
    assert some.hooks == {Hook.SEND}
    assert RULES.hooks == frozenset()


def test_the_memory_is_bounded() -> None:
    """However many names are made up, only so many are remembered, and each answer stays right."""
    some = Rules({"room:*": Rule(2.0)})
    for number in range(rules.REMEMBERED + 10):
        assert some.of(ChannelName(f"room:{number}")).slow_mode_s == 2
    assert some.of.cache_info().currsize == rules.REMEMBERED
