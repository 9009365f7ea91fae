"""Rules: what holds in the channels of a kind, as the operator says (PROTOCOL.md, "Rules").

Pure. A new rule is a field of `Rule` and its check in `settings/rules.py`.
"""

from collections.abc import Mapping
from enum import StrEnum
from functools import lru_cache

from server.domain.channels import ChannelName
from server.domain.hooks import Hook, HookFailure
from server.domain.values import value

REMEMBERED = 4_096
"""Channels whose rule is remembered."""

SMALL_CHANNEL = 100
"""Members up to which receipts and typing are shown, unless a rule says otherwise."""


class PresenceDetail(StrEnum):
    """How much the members of a channel learn of each other: names, only a count, or nothing."""

    NAMES = "names"
    COUNTS = "counts"
    OFF = "off"


@value
class Rule:
    """What holds in a channel."""

    slow_mode_s: float = 0.0
    """Seconds that a user waits between two messages; 0: none."""
    hooks: frozenset[Hook] = frozenset()
    """The commands before which the backend is asked."""
    hook_failure: HookFailure = HookFailure.CLOSED
    """The fate of these commands if the backend gives no answer."""
    retention_events: int | None = None
    """How many events the channel keeps; None: as everywhere."""
    retention_age_s: float | None = None
    """For how many seconds it keeps them; None: as everywhere."""
    presence: PresenceDetail = PresenceDetail.NAMES
    """How much members learn of each other."""
    receipts: int = SMALL_CHANNEL
    """Members up to which they see how far the others have read; 0: nobody sees it."""
    typing: int = SMALL_CHANNEL
    """Members up to which they see each other typing; 0: nobody sees it."""
    auto_follow: bool = False
    """Whether a user follows the channel by writing to it."""


NO_RULE = Rule()
"""Of channels that no pattern covers."""


class Rules:
    """Rules by pattern. As with grants, the most specific pattern alone decides: the exact name, else the longest
    prefix that covers the channel. A rule that it does not name is the default: rules are not merged."""

    def __init__(self, rules: Mapping[str, Rule]) -> None:
        self._rules = dict(rules)
        self._prefixes = sorted((pattern[:-1] for pattern in rules if pattern.endswith("*")), key=len, reverse=True)
        self.of = lru_cache(maxsize=REMEMBERED)(self._look_up)
        """Returns the rule of a channel."""
        self.slows = any(rule.slow_mode_s for rule in rules.values())
        """Whether there is a slow mode anywhere."""
        self.follows = any(rule.auto_follow for rule in rules.values())
        """Whether users follow any channel by writing to it."""
        self.hooks = frozenset[Hook]().union(*(rule.hooks for rule in rules.values()))
        """The hooks that any rule names."""

    def _look_up(self, channel: ChannelName) -> Rule:
        if (exact := self._rules.get(channel)) is not None:
            return exact
        covering = next((prefix for prefix in self._prefixes if channel.startswith(prefix)), None)
        return NO_RULE if covering is None else self._rules[f"{covering}*"]
