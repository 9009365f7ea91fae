"""Presence, wired by hand."""

import time
from dataclasses import dataclass

from server.adapters.prometheus.presence import PresenceCounters, PresenceNow
from server.application.people.presence import Presences
from server.bootstrap.stores.open import Stores
from server.domain.rules import Rules
from server.ports.membership import Membership
from server.ports.transport import Transport


@dataclass(frozen=True, slots=True)
class PresenceParts:
    """The use cases of presence, and their counts."""

    cases: Presences
    metrics: PresenceCounters


def compose(stores: Stores, transport: Transport, membership: Membership, rules: Rules) -> PresenceParts:
    """Wire the parts."""
    bus, counters = stores.bus, PresenceCounters()
    cases = Presences(bus.presence, transport, membership, rules, time.monotonic, bus.link.is_set, counters)
    counters.now = lambda: PresenceNow(cases.entering.waiting, len(cases.rosters), bus.presence.dropped)
    return PresenceParts(cases, counters)
