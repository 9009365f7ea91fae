"""The orders of backends: heeding them here, and giving them."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from server.adapters.clock import now_ms
from server.application.channels.subscriptions import Subscriptions
from server.application.outside.denials import Denials
from server.application.outside.moving import Mover
from server.application.outside.obeying import Obeying
from server.application.outside.removing import Removing
from server.application.outside.revoked_tokens import RevokedTokens
from server.application.outside.revoking import Revoking
from server.application.sessions.sessions import Sessions
from server.bootstrap.ids import new_message_id
from server.bootstrap.stores.open import Stores
from server.ports.connections import Connections
from server.ports.metrics import SessionMetrics
from server.settings.model import Settings


@dataclass(frozen=True, slots=True)
class Heeded:
    """The entries that every use case of this replica looks at."""

    revoked: RevokedTokens = field(default_factory=lambda: RevokedTokens(now_ms))
    denials: Denials = field(default_factory=lambda: Denials(now_ms))

    def loops(
        self,
        stores: Stores,
        sessions: Sessions,
        subscriptions: Subscriptions,
        connections: Connections,
        tasks: asyncio.TaskGroup,
        metrics: SessionMetrics,
    ) -> Callable[[], tuple[Coroutine[Any, Any, None], ...]]:
        """Return the makers of the tasks that obey orders."""
        mover = Mover(connections, tasks, metrics)
        obeying = Obeying(
            stores.bus.control, stores.revocations, self.revoked, self.denials, sessions, subscriptions, mover
        )
        return lambda: (obeying.run(), obeying.sweep())


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
