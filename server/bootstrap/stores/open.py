"""Opening the stores that the settings name. Each technology is imported only if it is chosen."""

import secrets
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import partial

from server.bootstrap.stores.record import Bus
from server.ports.erasures import Erasures
from server.ports.follows import Follows
from server.ports.marks import Marks
from server.ports.message_log import MessageLog
from server.ports.metrics import LogSize
from server.ports.reactions import Reactions
from server.ports.records import Records
from server.ports.revocations import Revocations
from server.ports.webhooks import Webhooks
from server.settings.choices import MessageLogKind
from server.settings.model import Settings

_OWN_SECRET = secrets.token_bytes(32)


@dataclass(frozen=True, slots=True)
class Stores:
    """A replica's log, its way to the other replicas, and the revocations that all heed."""

    log: MessageLog
    bus: Bus
    revocations: Revocations
    secret: Callable[[], Awaitable[bytes]]
    """Return random bytes that all replicas of the store share. Raises `Unavailable`."""
    webhooks: Webhooks
    """The debts of the log to the endpoints of webhooks."""
    erasures: Erasures
    """The erasures of users' messages that were asked for."""
    reactions: Reactions
    records: Records
    marks: Marks
    follows: Follows


async def _own_secret() -> bytes:
    """Return the secret of a replica that is alone with its store."""
    return _OWN_SECRET


async def open_stores(settings: Settings, resources: AsyncExitStack) -> Stores:
    """Open what the settings name; `resources` closes it. Raises `StartRefused`.

    The kind of the log decides: the settings refuse a shared log with private hints, and the reverse.
    """
    match settings.message_log:
        case MessageLogKind.MEMORY:
            from server.bootstrap.stores import memory

            kept = memory.open_log(settings)
            return Stores(
                kept,
                memory.open_bus(),
                memory.open_revocations(),
                _own_secret,
                memory.open_webhooks(kept),
                memory.open_erasures(kept),
                *memory.open_people(kept),
            )
        case MessageLogKind.SQLITE:
            from server.bootstrap.stores import memory, sqlite

            log = await sqlite.open_log(settings, resources)
            bus = replace(
                memory.open_bus(),
                trims_refused=lambda: log.trims_refused,
                log_size=lambda: LogSize(log.space.used, log.space.limit, log.space.full),
                loops=(log.watch(),),
            )
            return Stores(
                log,
                bus,
                sqlite.open_revocations(log),
                _own_secret,
                sqlite.open_webhooks(log),
                sqlite.open_erasures(log),
                *sqlite.open_people(log),
            )
        case MessageLogKind.REDIS:
            from server.bootstrap.stores import redis

            shared, linked, revocations, webhooks, erasures, people = await redis.open_stores(settings, resources)
            secret = partial(redis.secret, settings)
            return Stores(shared, linked, revocations, secret, webhooks, erasures, *people)
