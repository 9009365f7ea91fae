"""Opening the stores that the settings name. Each technology is imported only if it is chosen."""

from contextlib import AsyncExitStack
from dataclasses import replace

from server.bootstrap.stores.record import Bus, Stores
from server.settings.choices import BroadcastKind, MessageLogKind
from server.settings.model import Settings


async def open_stores(settings: Settings, resources: AsyncExitStack) -> Stores:
    """Open what the settings name; `resources` closes it. Raises `StartRefused`.

    The kind of the log decides; hints may go another way, which the settings judge.
    """
    stores = await _open_log(settings, resources)
    if settings.broadcast.value in (settings.message_log.value, BroadcastKind.MEMORY.value):
        return stores
    return replace(stores, bus=await _beside(settings, stores, resources))


async def _open_log(settings: Settings, resources: AsyncExitStack) -> Stores:
    match settings.message_log:
        case MessageLogKind.MEMORY:
            from server.bootstrap.stores import memory

            return memory.open_stores(settings)
        case MessageLogKind.SQLITE:
            from server.bootstrap.stores import sqlite

            return await sqlite.open_stores(settings, resources)
        case MessageLogKind.REDIS:
            from server.bootstrap.stores import redis

            return await redis.open_stores(settings, resources)
        case MessageLogKind.POSTGRES:
            from server.bootstrap.stores import postgres

            return await postgres.open_stores(settings, resources)
        case MessageLogKind.NATS:
            from server.bootstrap.stores import nats

            return await nats.open_stores(settings, resources)


async def _beside(settings: Settings, stores: Stores, resources: AsyncExitStack) -> Bus:
    """Open the broker that carries the hints, beside the store that carries all else."""
    match settings.broadcast:
        case BroadcastKind.KAFKA:
            from server.bootstrap.stores import kafka

            return await kafka.beside(settings, stores.bus, resources)
        case BroadcastKind.NATS:
            from server.bootstrap.stores import nats

            return await nats.beside(settings, stores.bus, resources)
        case BroadcastKind.MEMORY | BroadcastKind.REDIS | BroadcastKind.POSTGRES:
            raise AssertionError("the settings refuse it")
