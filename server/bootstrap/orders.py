"""The orders of backends: heeding them here, and giving them."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from server.adapters.clock import now_ms
from server.application.channels.subscriptions import Subscriptions
from server.application.outside.entries import Entries
from server.application.outside.moving import Mover
from server.application.outside.obeying import Obeying
from server.application.outside.removing import Removing
from server.application.outside.revoking import Revoking
from server.application.sessions.sessions import Sessions
from server.bootstrap.ids import new_message_id
from server.bootstrap.stores.record import Stores
from server.ports.connections import Connections
from server.ports.metrics import SessionMetrics
from server.settings.model import Settings


def loops(  # everything that orders are about
    entries: Entries,
    stores: Stores,
    sessions: Sessions,
    subscriptions: Subscriptions,
    *,
    connections: Connections,
    tasks: asyncio.TaskGroup,
    metrics: SessionMetrics,
) -> Callable[[], tuple[Coroutine[Any, Any, None], ...]]:
    """Return the maker of the tasks that obey orders."""
    mover = Mover(connections, tasks, metrics)
    obeying = Obeying(stores.bus.control, stores.revocations, entries, sessions, subscriptions, mover)
    return lambda: (obeying.run(), obeying.give(), obeying.sweep())


def revoking(settings: Settings, stores: Stores) -> Revoking:
    """The use cases of revocations. With a bound on the life of tokens, a revocation lives as long as they do."""
    tokens_ms = round((settings.jwt_max_lifetime + settings.jwt_leeway) * 1000) if settings.jwt_max_lifetime else None
    return Revoking(
        stores.revocations,
        stores.bus.control,
        now_ms,
        lambda: str(new_message_id(now_ms())),
        life_ms=round(settings.revocation_life * 1000),
        token_life_ms=tokens_ms,
    )


def removing(stores: Stores) -> Removing:
    """The use cases about members and sessions."""
    return Removing(stores.revocations, stores.bus.control, now_ms)
