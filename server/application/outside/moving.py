"""Sending clients away so that they come back: to another replica, perhaps, and by a token that may be another."""

import asyncio
from collections.abc import Iterable

from server.application.life.drainer import ANSWER_S, CLOSE_S
from server.application.sessions.session import Session
from server.domain.pushes import SessionDraining
from server.ports.connections import ConnectionId, Connections
from server.ports.metrics import SILENT, SessionMetrics

GRACE_S = 1.0
"""From the notice until a connection is closed: clients that heed it have a new connection by then."""

RECONNECT = "reconnect"
"""The name of such an end in the metrics."""


class Mover:
    """Ends connections as a drain does. `tasks` runs the waits."""

    def __init__(
        self,
        connections: Connections,
        tasks: asyncio.TaskGroup,
        metrics: SessionMetrics = SILENT,
        grace_s: float = GRACE_S,
    ) -> None:
        self._connections = connections
        self._tasks = tasks
        self._metrics = metrics
        self._grace_s = grace_s

    def move(self, sessions: Iterable[Session]) -> None:
        """Tell the sessions' clients to come back at once, and close their connections a moment later."""
        notice = SessionDraining(0, round(self._grace_s * 1000))
        for session in sessions:
            connection = self._connections.of(session.id)
            if connection is not None and self._connections.notify(connection, notice):
                self._metrics.session_ended(RECONNECT)
                self._tasks.create_task(self._end(connection))

    async def _end(self, connection: ConnectionId) -> None:
        await asyncio.sleep(self._grace_s)
        await self._connections.end(connection, ANSWER_S, CLOSE_S)
