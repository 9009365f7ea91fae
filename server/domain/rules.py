"""Rules: what holds in the channels of a kind, as the operator says (PROTOCOL.md, "Rules").

Pure. A new rule is a field of `Rule` and its check in the settings.
"""

from collections.abc import Mapping
from functools import lru_cache

from server.domain.channels import ChannelName
from server.domain.values import value

REMEMBERED = 4_096
"""Channels whose rule is remembered."""


@value
class Rule:
    """What holds in a channel. `slow_mode_s` is how many seconds a user waits between two messages; 0: none."""

    slow_mode_s: float = 0.0


NO_RULE = Rule()
"""Of channels that no pattern covers."""


class Rules:
    """Rules by pattern. As with grants, the most specific pattern alone decides: the exact name, else the longest
    prefix that covers the channel."""

    def __init__(self, rules: Mapping[str, Rule]) -> None:
        self._rules = dict(rules)
        self._prefixes = sorted((pattern[:-1] for pattern in rules if pattern.endswith("*")), key=len, reverse=True)
        self.of = lru_cache(maxsize=REMEMBERED)(self._look_up)
        """Returns the rule of a channel."""
        self.slows = any(rule.slow_mode_s for rule in rules.values())
        """Whether there is a slow mode anywhere."""

    def _look_up(self, channel: ChannelName) -> Rule:
        if (exact := self._rules.get(channel)) is not None:
            return exact
        covering = next((prefix for prefix in self._prefixes if channel.startswith(prefix)), None)
        return NO_RULE if covering is None else self._rules[f"{covering}*"]
