"""Hints over Kafka, beside a store that carries all else."""

from contextlib import AsyncExitStack
from dataclasses import replace

from server.adapters.kafka.bus import KafkaBus
from server.adapters.seal import Seal
from server.adapters.topics.beside import Beside, Links
from server.adapters.topics.broadcast import TopicBroadcast
from server.adapters.topics.topics import Topics
from server.bootstrap.cluster import hint_secret
from server.bootstrap.kafka import check, options
from server.bootstrap.stores.record import Bus
from server.settings.model import Settings


async def beside(settings: Settings, bus: Bus, resources: AsyncExitStack) -> Bus:
    """Return the bus with the hints over Kafka. Raises `StartRefused`."""
    await check(settings, {"MARU_KAFKA_TOPIC": [settings.kafka_topic]})
    hints = KafkaBus(options(settings), settings.kafka_topic)
    resources.push_async_callback(hints.aclose)
    broadcast = TopicBroadcast(Topics(hints, Seal(hint_secret(settings))))
    return replace(
        bus,
        broadcast=Beside(broadcast, bus.broadcast),
        link=Links(bus.link, hints.linked),
        link_losses=lambda: bus.link_losses() + hints.losses,
        hints_refused=lambda: bus.hints_refused() + broadcast.refused,
        loops=(*bus.loops, hints.run()),
    )
