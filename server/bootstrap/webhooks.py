"""Webhooks, wired: an endpoint's courier and dispatcher, and the dead letters of all."""

import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from random import Random

from server.adapters.clock import now_ms
from server.adapters.prometheus.webhooks import WebhookCounters
from server.adapters.webhooks.sender import HttpSender
from server.application.outside.webhooks.courier import Bodies, Clocks, Courier
from server.application.outside.webhooks.dead_letters import DeadLetters
from server.application.outside.webhooks.dispatcher import Dispatcher
from server.application.outside.webhooks.dispatchers import Dispatchers
from server.application.outside.webhooks.lag import Lag
from server.application.outside.webhooks.leading import Lead
from server.application.outside.webhooks.schedule import Schedule
from server.bootstrap.receivers import Receiver
from server.bootstrap.stores.record import Stores
from server.settings.model import VERSION, Settings
from server.wire import webhooks as wire


@dataclass(frozen=True, slots=True)
class WiredWebhooks:
    """The parts of webhooks."""

    dispatchers: Dispatchers
    dead_letters: DeadLetters
    metrics: WebhookCounters


def _receivers(settings: Settings, resources: AsyncExitStack) -> Iterator[Receiver]:
    """Open the ways to the endpoints of webhooks, and to a topic of Kafka. `resources` closes them."""
    sender, bodies = HttpSender(f"Maru/{VERSION}"), Bodies(wire.notice, wire.batch)
    resources.push_async_callback(sender.aclose)
    for endpoint in settings.webhooks:
        yield Receiver(endpoint, sender, bodies, Schedule(Random()))  # noqa: S311  # jitter
    if settings.kafka_egress_topic is not None:
        from server.bootstrap.egress import open_egress  # Kafka's client is imported only if it is needed

        yield open_egress(settings, settings.kafka_egress_topic, resources)


def compose_webhooks(settings: Settings, stores: Stores, resources: AsyncExitStack) -> WiredWebhooks:
    """Wire the parts. `resources` closes their connections."""
    receivers = [*_receivers(settings, resources)]
    clocks, metrics = Clocks(time.monotonic, now_ms), WebhookCounters(each.endpoint.name for each in receivers)
    log, store, id = stores.log, stores.webhooks, stores.bus.replicas.id
    couriers = [Courier(each.endpoint, log, store, each.sender, each.bodies, metrics, clocks) for each in receivers]
    dispatchers = [
        Dispatcher(
            each.endpoint,
            Lead(each.endpoint, id, store, metrics, clocks),
            store,
            courier,
            each.schedule,
            metrics,
            clocks,
        )
        for each, courier in zip(receivers, couriers, strict=True)
    ]
    return WiredWebhooks(
        Dispatchers(dispatchers, Lag(dispatchers, log, store, metrics, clocks)),
        DeadLetters({courier.endpoint.name: courier for courier in couriers}, store, clocks),
        metrics,
    )
