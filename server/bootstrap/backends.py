"""The HTTP API of backends, wired: keys, table and door; and their webhooks."""

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Protocol

from server.adapters.clock import now_ms
from server.api.backends import (
    broadcast,
    erasures,
    events,
    follows,
    history,
    members,
    messages,
    openapi,
    presence,
    reactions,
    revocations,
    webhooks,
)
from server.api.backends.door import Door
from server.api.backends.table import Table
from server.api.probes import Readiness
from server.application.limits.key_rates import KeyRates
from server.application.messages.broadcasting import Broadcaster
from server.application.messages.erasures import Eraser
from server.application.messages.history import History
from server.application.messages.publisher import Publisher
from server.application.messages.writing import Writing
from server.application.people.following import Following
from server.application.people.publishing import AppEvents
from server.application.people.reacting import Reacting
from server.bootstrap import orders
from server.bootstrap.api_keys import read_keys
from server.bootstrap.ids import new_message_id
from server.bootstrap.stores.record import Stores
from server.bootstrap.webhooks import WiredWebhooks, compose_webhooks
from server.domain.backends import ApiKeys
from server.domain.rates import Bucket
from server.ports.metrics import Metrics
from server.settings.choices import MessageLogKind
from server.settings.model import Settings


class Intake(Protocol):
    """Brings messages in from elsewhere."""

    async def run(self) -> None:
        """Bring them in until `stop`."""
        ...

    async def stop(self) -> None:
        """Take no more, and let the other replicas have the rest."""
        ...


@dataclass(frozen=True, slots=True)
class Backends:
    """The parts of the API, and of webhooks."""

    door: Door
    table: Table
    keys: ApiKeys
    eraser: Eraser
    webhooks: WiredWebhooks
    writing: Writing
    sweep: Callable[[], None]
    """Forgets buckets that are full."""
    intakes: tuple[Intake, ...]
    """Bring messages in from elsewhere."""


def compose(
    settings: Settings,
    stores: Stores,
    metrics: Metrics,
    readiness: Readiness,
    check_read: Callable[[], None],
    resources: AsyncExitStack,
) -> Backends:
    """Wire the parts; `resources` closes them. Backends write past the limits of users, and past slow mode: their key
    has a rate."""
    keys, rates = ApiKeys(read_keys(settings)), KeyRates(settings.limits, time.monotonic)
    publisher = Publisher(stores.log, stores.bus.broadcast, time.time_ns, new_message_id, metrics)
    door = Door(keys, rates.take, lambda: readiness.stopping, lambda: str(new_message_id(now_ms())), metrics)
    eraser, told = _eraser(settings, stores), compose_webhooks(settings, stores, resources)
    table: Table = [
        *messages.operations(publisher),
        *reactions.operations(Reacting(stores.reactions, publisher.writing, now_ms)),
        *events.operations(AppEvents(stores.records, publisher.writing, stores.bus.signals, now_ms)),
        *history.operations(History(stores.log, check_read)),
        *broadcast.operations(Broadcaster(publisher)),
        *revocations.operations(orders.revoking(settings, stores)),
        *members.operations(orders.removing(stores)),
        *follows.operations(Following(stores.follows, stores.marks)),
        *erasures.operations(eraser, lambda: readiness.stopping),
        *presence.operations(stores.bus.presence, stores.bus.online),
        *webhooks.operations(told.dead_letters),
    ]
    table += openapi.operations(table)
    intakes = tuple(_intakes(settings, stores, publisher))
    return Backends(door, table, keys, eraser, told, publisher.writing, rates.sweep, intakes)


def _intakes(settings: Settings, stores: Stores, publisher: Publisher) -> Iterator[Intake]:
    """Open what brings messages in. Its libraries are imported only if they are needed."""
    if settings.message_log is MessageLogKind.POSTGRES:
        from server.bootstrap.outbox import open_outbox

        yield open_outbox(stores.log, publisher)
    if settings.kafka_ingest_topic is not None:
        from server.bootstrap.ingest import open_intake

        yield open_intake(settings, settings.kafka_ingest_topic, publisher)


def _eraser(settings: Settings, stores: Stores) -> Eraser:
    return Eraser(
        stores.log,
        stores.bus.broadcast,
        stores.erasures,
        stores.bus.replicas,
        rate=settings.limits.get(Bucket.CHANNEL),
        now_ms=now_ms,
        new_id=lambda: secrets.token_hex(16),
    )


def has_own_port(settings: Settings) -> bool:
    """Say whether the API has a port of its own, or an address, instead of the internal ones."""
    host, port = settings.api_host, settings.api_port
    return port not in (None, settings.internal_port or None) or host not in (None, settings.internal_host)
