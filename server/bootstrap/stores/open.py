"""Opening the stores that the settings name. Each technology is imported only if it is chosen."""

from contextlib import AsyncExitStack
from dataclasses import dataclass, replace

from server.bootstrap.stores.record import Bus
from server.ports.message_log import MessageLog
from server.settings.choices import MessageLogKind
from server.settings.model import Settings


@dataclass(frozen=True, slots=True)
class Stores:
    """A replica's log, and its way to the other replicas."""

    log: MessageLog
    bus: Bus


async def open_stores(settings: Settings, resources: AsyncExitStack) -> Stores:
    """Open what the settings name; `resources` closes it. Raises `StartRefused`.

    The kind of the log decides: the settings refuse a shared log with private hints, and the reverse.
    """
    match settings.message_log:
        case MessageLogKind.MEMORY:
            from server.bootstrap.stores import memory

            return Stores(memory.open_log(settings), memory.open_bus())
        case MessageLogKind.SQLITE:
            from server.bootstrap.stores import memory, sqlite

            log = await sqlite.open_log(settings, resources)
            return Stores(
                log, replace(memory.open_bus(), trims_refused=lambda: log.trims_refused, loops=(log.watch(),))
            )
        case MessageLogKind.REDIS:
            from server.bootstrap.stores import redis

            return Stores(*await redis.open_stores(settings, resources))
