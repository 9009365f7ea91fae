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
from server.application.outside.revoked_tokens import RevokedTokens
from server.application.sessions.sessions import Sessions
from server.bootstrap.stores.open import Stores
from server.ports.connections import Connections
from server.ports.metrics import SessionMetrics


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
