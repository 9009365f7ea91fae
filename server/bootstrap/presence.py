"""Presence, wired by hand."""

import time
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from server.adapters.prometheus.presence import PresenceCounters, PresenceNow
from server.application.people.online import Counting
from server.application.people.presence import Presences
from server.application.sessions.sessions import Sessions
from server.bootstrap.stores.open import Stores
from server.domain.rules import Rules
from server.ports.membership import Membership
from server.ports.transport import Transport


@dataclass(frozen=True, slots=True)
class PresenceParts:
    """The use cases of presence, and their counts."""

    cases: Presences
    counting: Counting
    metrics: PresenceCounters

    def loops(self) -> tuple[Coroutine[Any, Any, None], ...]:
        """The tasks that run until the end of the process."""
        return *self.cases.loops(), *self.counting.loops()


def compose(
    stores: Stores, transport: Transport, membership: Membership, sessions: Sessions, rules: Rules
) -> PresenceParts:
    """Wire the parts."""
    bus, counters = stores.bus, PresenceCounters()
    cases = Presences(bus.presence, transport, membership, rules, time.monotonic, bus.link.is_set, counters)
    counters.now = lambda: PresenceNow(cases.entering.waiting, len(cases.rosters), bus.presence.dropped)
    counting = Counting(bus.online, lambda user: len(sessions.of(user)), time.monotonic)
    sessions.changed = counting.changed
    return PresenceParts(cases, counting, counters)
