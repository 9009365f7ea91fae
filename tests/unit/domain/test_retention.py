"""Retention: a channel's rule, else the bounds of all."""

from server.domain.channels import ChannelName
from server.domain.retention import Kept, Retention
from server.domain.rules import Rule

ROOM, AUDIT, OTHER = ChannelName("room:1"), ChannelName("audit"), ChannelName("dm:a:b")


def test_without_rules_all_channels_keep_the_same() -> None:
    """So they do with rules that say nothing of it."""
    for rules in (None, {}, {"room:*": Rule(slow_mode_s=5)}):
        retention = Retention(100, 60_000, rules)
        assert {retention.of(channel) for channel in (ROOM, AUDIT, OTHER)} == {Kept(100, 60_000)}
        assert retention.least == Kept(100, 60_000)


def test_a_rule_replaces_either_bound() -> None:
    """By fewer or more, of the most specific pattern; the other bound is that of all."""
    rules = {"room:*": Rule(retention_events=5), "audit": Rule(retention_age_s=600.5), "room:2": Rule()}
    retention = Retention(100, 60_000, rules)
    assert retention.of(ROOM) == Kept(5, 60_000)
    assert retention.of(AUDIT) == Kept(100, 600_500)
    assert retention.of(ChannelName("room:2")) == retention.of(OTHER) == Kept(100, 60_000)
    assert retention.least == Kept(5, 60_000)


def test_the_least_of_all_rules() -> None:
    """Of either bound, whichever rule it is in."""
    rules = {"a": Rule(retention_events=200, retention_age_s=1), "b": Rule(retention_events=7, retention_age_s=500)}
    assert Retention(100, 60_000, rules).least == Kept(7, 1_000)
