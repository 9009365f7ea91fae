"""Presence, wired by hand."""

import secrets
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from server.adapters.clock import now_ms
from server.adapters.prometheus.presence import PresenceCounters, PresenceNow
from server.application.outside.webhooks.noticing import Noticing
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
    noticing: Noticing
    metrics: PresenceCounters

    def loops(self) -> tuple[Coroutine[Any, Any, None], ...]:
        """The tasks that run until the end of the process."""
        return *self.cases.loops(), *self.counting.loops(), self.noticing.run()


def compose(
    stores: Stores,
    transport: Transport,
    membership: Membership,
    sessions: Sessions,
    rules: Rules,
    *,
    noticed: bool,
) -> PresenceParts:
    """Wire the parts."""
    bus, counters = stores.bus, PresenceCounters()
    cases = Presences(bus.presence, transport, membership, rules, time.monotonic, bus.link.is_set, counters)
    counters.now = lambda: PresenceNow(cases.entering.waiting, len(cases.rosters), bus.presence.dropped)
    noticing = Noticing(stores.records, now_ms, lambda: secrets.token_hex(16), wanted=noticed)
    counting = Counting(bus.online, lambda user: len(sessions.of(user)), time.monotonic, noticing.changed)
    sessions.changed = counting.changed
    return PresenceParts(cases, counting, noticing, counters)
