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
from server.bootstrap.stores.record import Stores
from server.settings.model import VERSION, Settings
from server.wire import webhooks as wire


@dataclass(frozen=True, slots=True)
class WiredWebhooks:
    """The parts of webhooks."""

    dispatchers: Dispatchers
    dead_letters: DeadLetters
    metrics: WebhookCounters


def compose_webhooks(settings: Settings, stores: Stores, resources: AsyncExitStack) -> WiredWebhooks:
    """Wire the parts. `resources` closes their connections."""
    clocks, metrics = Clocks(time.monotonic, now_ms), WebhookCounters(each.name for each in settings.webhooks)
    sender = HttpSender(f"Maru/{VERSION}")
    resources.push_async_callback(sender.aclose)
    bodies, log, store = Bodies(wire.notice, wire.batch), stores.log, stores.webhooks
    couriers = [Courier(each, log, store, sender, bodies, metrics, clocks) for each in settings.webhooks]
    id = stores.bus.replicas.id
    leads = [Lead(each, id, store, metrics, clocks) for each in settings.webhooks]
    dispatchers = [
        Dispatcher(courier.endpoint, lead, store, courier, Schedule(Random()), metrics, clocks)  # noqa: S311  # jitter
        for courier, lead in zip(couriers, leads, strict=True)
    ]
    return WiredWebhooks(
        Dispatchers(dispatchers, Lag(dispatchers, log, store, metrics, clocks)),
        DeadLetters({courier.endpoint.name: courier for courier in couriers}, store, clocks),
        metrics,
    )
