"""Webhooks, wired: an endpoint's courier and dispatcher, and the dead letters of all."""

import time
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
from server.bootstrap.egress_parts import Egress
from server.bootstrap.stores.record import Stores
from server.settings.model import VERSION, Settings
from server.wire import webhooks as wire


@dataclass(frozen=True, slots=True)
class WiredWebhooks:
    """The parts of webhooks."""

    dispatchers: Dispatchers
    dead_letters: DeadLetters
    metrics: WebhookCounters


def _egress(settings: Settings, resources: AsyncExitStack) -> Egress | None:
    """Open the way of the log's events into a topic of Kafka, if there is any."""
    if settings.kafka_egress_topic is None:
        return None
    from server.bootstrap.egress import open_egress  # Kafka's client is imported only if it is needed

    return open_egress(settings, settings.kafka_egress_topic, resources)


def compose_webhooks(settings: Settings, stores: Stores, resources: AsyncExitStack) -> WiredWebhooks:
    """Wire the parts. `resources` closes their connections."""
    egress = _egress(settings, resources)
    endpoints = [*settings.webhooks, *([] if egress is None else [egress.endpoint])]
    clocks, metrics = Clocks(time.monotonic, now_ms), WebhookCounters(each.name for each in endpoints)
    sender = HttpSender(f"Maru/{VERSION}")
    resources.push_async_callback(sender.aclose)
    bodies, log, store = Bodies(wire.notice, wire.batch), stores.log, stores.webhooks
    couriers = [Courier(each, log, store, sender, bodies, metrics, clocks) for each in settings.webhooks]
    if egress is not None:
        couriers.append(Courier(egress.endpoint, log, store, egress.sender, egress.bodies, metrics, clocks))
    id = stores.bus.replicas.id
    leads = [Lead(each, id, store, metrics, clocks) for each in endpoints]
    schedules = [Schedule(Random()) for _ in settings.webhooks]  # noqa: S311  # jitter
    if egress is not None:
        schedules.append(egress.schedule)
    dispatchers = [
        Dispatcher(courier.endpoint, lead, store, courier, schedule, metrics, clocks)
        for courier, lead, schedule in zip(couriers, leads, schedules, strict=True)
    ]
    return WiredWebhooks(
        Dispatchers(dispatchers, Lag(dispatchers, log, store, metrics, clocks)),
        DeadLetters({courier.endpoint.name: courier for courier in couriers}, store, clocks),
        metrics,
    )
