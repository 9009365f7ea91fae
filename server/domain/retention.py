"""Retention: how many events a channel keeps, and for how long. Pure."""

from collections.abc import Callable, Mapping
from functools import lru_cache

from server.domain.channels import ChannelName
from server.domain.rules import REMEMBERED, Rule, Rules
from server.domain.values import value


@value
class Kept:
    """A channel keeps so many events, each for so long."""

    events: int
    age_ms: int


class Retention:
    """What each channel keeps: as its rule says, and else as all channels.

    `of` returns it. `least` are the smallest bounds of any channel: a channel within them is within its own.
    """

    def __init__(self, events: int, age_ms: int, rules: Mapping[str, Rule] | None = None) -> None:
        self.default = Kept(events, age_ms)
        given = [self._kept(rule) for rule in (rules or {}).values()]
        ruled = any(kept != self.default for kept in given)
        self._rules = Rules(rules or {} if ruled else {})
        self.of: Callable[[ChannelName], Kept] = (
            lru_cache(maxsize=REMEMBERED)(self._look_up) if ruled else lambda _: self.default
        )
        every = (self.default, *given)
        self.least = Kept(min(kept.events for kept in every), min(kept.age_ms for kept in every))

    def _look_up(self, channel: ChannelName) -> Kept:
        return self._kept(self._rules.of(channel))

    def _kept(self, rule: Rule) -> Kept:
        events, age_s = rule.retention_events, rule.retention_age_s
        return Kept(
            self.default.events if events is None else events,
            self.default.age_ms if age_s is None else round(age_s * 1_000),
        )
