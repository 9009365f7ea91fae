"""The use case of writing for clients, wired with their rates."""

import asyncio
import time
from collections.abc import Callable

from server.application.channels.hub import Hub
from server.application.limits.fresh_channels import FreshChannels
from server.application.limits.slow_mode import SlowMode
from server.application.messages.publisher import Publisher
from server.application.outside.denials import Denials
from server.application.people.following import AutoFollowing
from server.bootstrap.asking import Asks
from server.bootstrap.ids import new_message_id
from server.bootstrap.stores.record import Stores
from server.ports.metrics import MessageMetrics
from server.settings.model import Settings


def compose(
    settings: Settings,
    stores: Stores,
    hub: Hub,
    asks: Asks,
    denials: Denials,
    metrics: MessageMetrics,
    tasks: asyncio.TaskGroup,
) -> tuple[Publisher, tuple[Callable[[], None], ...]]:
    """Return the publisher of clients, and what forgets its buckets that are full."""
    slow_mode = SlowMode(asks.rules, time.monotonic) if asks.rules.slows else None
    fresh = None
    if settings.limits:
        fresh = FreshChannels(settings.limits, settings.limit_tiers, hub.has_events, time.monotonic)
    publisher = Publisher(
        stores.log,
        stores.bus.broadcast,
        time.time_ns,
        new_message_id,
        metrics,
        slow_mode=slow_mode,
        fresh=fresh,
        denials=denials,
        asking=asks.asking,
    )
    if asks.rules.follows:
        publisher.writing.on_written(AutoFollowing(stores.follows, asks.rules, tasks).wrote)
    return publisher, tuple([each.sweep for each in (slow_mode, fresh) if each is not None])
