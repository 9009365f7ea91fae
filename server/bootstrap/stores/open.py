"""Opening the stores that the settings name. Each technology is imported only if it is chosen."""

from contextlib import AsyncExitStack
from dataclasses import dataclass

from server.bootstrap.stores.record import Bus
from server.ports.message_log import MessageLog
from server.settings.model import BroadcastKind, MessageLogKind, Settings


@dataclass(frozen=True, slots=True)
class Stores:
    """A replica's log, and its way to the other replicas."""

    log: MessageLog
    bus: Bus


async def open_stores(settings: Settings, resources: AsyncExitStack) -> Stores:
    """Open what the settings name; `resources` closes it. Raises `StartRefused`."""
    return Stores(await _open_log(settings, resources), _open_bus(settings, resources))


async def _open_log(settings: Settings, resources: AsyncExitStack) -> MessageLog:
    match settings.message_log:
        case MessageLogKind.MEMORY:
            from server.bootstrap.stores import memory

            return memory.open_log(settings)
        case MessageLogKind.SQLITE:
            from server.bootstrap.stores import sqlite

            return await sqlite.open_log(settings, resources)
        case MessageLogKind.REDIS:
            from server.bootstrap.stores import redis

            return await redis.open_log(settings, resources)


def _open_bus(settings: Settings, resources: AsyncExitStack) -> Bus:
    match settings.broadcast:
        case BroadcastKind.MEMORY:
            from server.bootstrap.stores import memory

            return memory.open_bus()
        case BroadcastKind.REDIS:
            from server.bootstrap.stores import redis

            return redis.open_bus(settings, resources)
