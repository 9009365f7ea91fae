"""Presence, wired by hand."""

import secrets
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from server.adapters.clock import now_ms
from server.adapters.prometheus.presence import PresenceCounters, PresenceNow
from server.application.messages.writing import Writing
from server.application.outside.webhooks.missing import Missing
from server.application.outside.webhooks.noticing import Noticing
from server.application.people.online import Counting
from server.application.people.presence import Presences
from server.application.sessions.sessions import Sessions
from server.bootstrap.stores.record import Stores
from server.domain.channels import ChannelName
from server.domain.notices import MISSED
from server.domain.rules import Rules
from server.domain.webhooks import Endpoint, WebhookType
from server.ports.membership import Membership
from server.ports.presence import Presence
from server.ports.transport import Transport


@dataclass(frozen=True, slots=True)
class PresenceParts:
    """The use cases of presence, and their counts."""

    cases: Presences
    counting: Counting
    noticing: Noticing
    missing: Missing
    store: Presence
    watches: bool
    """Whether webhooks are told of messages that users miss."""
    metrics: PresenceCounters

    def loops(self) -> tuple[Coroutine[Any, Any, None], ...]:
        """The tasks that run until the end of the process."""
        return *self.cases.loops(), *self.counting.loops(), *self._noticing()

    def watch(self, *writings: Writing) -> None:
        """Look at the messages that are written so, if webhooks are told of those that users miss."""
        if self.watches:
            for writing in writings:
                writing.on_written(self.missing.wrote)

    def _noticing(self) -> tuple[Coroutine[Any, Any, None], ...]:
        return self.noticing.run(), self.noticing.hear(self.store), self.missing.run()


def compose(
    stores: Stores,
    transport: Transport,
    membership: Membership,
    sessions: Sessions,
    rules: Rules,
    *,
    webhooks: Sequence[Endpoint],
) -> PresenceParts:
    """Wire the parts. `webhooks` may be told of users and channels."""
    bus, counters = stores.bus, PresenceCounters()
    cases = Presences(bus.presence, transport, membership, rules, time.monotonic, bus.link.is_set, counters)
    wanted = frozenset[WebhookType]().union(*(endpoint.types for endpoint in webhooks))
    noticing = Noticing(stores.records, now_ms, lambda: secrets.token_hex(16), wanted=wanted)
    missed = [endpoint for endpoint in webhooks if MISSED in endpoint.types]

    def misses(channel: ChannelName) -> bool:
        return any(endpoint.covers(channel) for endpoint in missed)

    missing = Missing(stores.follows, bus.online, noticing.keep, misses)
    counting = Counting(bus.online, lambda user: len(sessions.of(user)), time.monotonic, noticing.changed)
    sessions.changed = counting.changed
    counters.now = lambda: PresenceNow(
        cases.entering.waiting,
        len(cases.rosters),
        bus.presence.dropped,
        counting.waiting,
        bus.presence.reaped,
        noticing.waiting,
        noticing.dropped + missing.dropped,
    )
    return PresenceParts(cases, counting, noticing, missing, bus.presence, bool(missed), counters)
