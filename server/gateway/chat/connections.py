"""The `Connections` port: how a drain sees, asks and ends the clients' connections."""

import asyncio
import contextlib
import time
from collections.abc import Sequence

from server.domain.identity import SessionId
from server.domain.outcomes import CloseReason, DrainEnd
from server.domain.pushes import SessionDraining
from server.gateway.socketio.engine import Engine
from server.gateway.socketio.rooms import Rooms
from server.gateway.websocket.connection import Connection
from server.gateway.websocket.frames import CloseCode
from server.ports.connections import ConnectionId, Connections
from server.ports.transport import Transport

ANSWERED_LOOK_S = 0.01
"""How often a connection that is to be closed is asked whether everything read from it has been answered."""


class SocketConnections(Connections):
    """Ends the connections of an engine, whose sessions `rooms` knows. `transport` carries the notices, so they keep
    their place in each session."""

    def __init__(self, engine: Engine, rooms: Rooms, transport: Transport) -> None:
        self._engine = engine
        self._registry = engine.registry
        self._rooms = rooms
        self._transport = transport

    def shut(self) -> Sequence[ConnectionId]:
        """Answer further handshakes with 503, and close the connections without a CONNECT. Promise 1."""
        self._engine.closing = True
        for connection in tuple(self._registry.unconnected):
            connection.close(CloseCode.SERVICE_RESTART, CloseReason.DRAINING, "server restarts")
        return [ConnectionId(id) for id, connection in self._registry.connections.items() if connection.is_open()]

    def of(self, session: SessionId) -> ConnectionId | None:
        """Return the connection of a session."""
        connection = self._rooms.connection(session)
        return None if connection is None else ConnectionId(connection.id)

    def notify(self, connection: ConnectionId, notice: SessionDraining) -> bool:
        """Push the notice to the session on the connection, if there is one. Promise 2."""
        found = self._registry.connections.get(connection)
        if found is None or found.session is None or found.session.ended:
            return False
        found.session.moves = True
        self._transport.push(found.session.id, notice)
        return True

    async def end(self, connection: ConnectionId, answer_s: float, close_s: float) -> DrainEnd:
        """End a connection by close code 1012: after a DISCONNECT or Engine.IO's CLOSE clients would stay away.
        Promises 3 and 4."""
        client = self._registry.connections.get(connection)
        if client is None or not client.is_open():
            return DrainEnd.LEFT
        client.reader.hold()
        await _answered(client, answer_s / 2)
        client.packets.drop()  # too much for the time; the packet in progress is still answered
        await _answered(client, answer_s / 2)
        if not client.is_open():
            return DrainEnd.LEFT
        forgotten = self._registry.forgotten(client)
        client.close(CloseCode.SERVICE_RESTART, CloseReason.DRAINING, "server restarts")
        await asyncio.wait((forgotten,), timeout=close_s)
        if forgotten.done():
            return DrainEnd.CLOSED
        client.abort(CloseReason.SERVER_STOPPED, "server stopped")
        return DrainEnd.ABORTED

    async def gone(self, within_s: float) -> bool:
        """Wait until no connection is left."""
        if self._registry.connections and within_s > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(within_s):
                    await self._registry.empty()
        return not self._registry.connections

    def abort(self) -> Sequence[ConnectionId]:
        """Cut off every connection that is left."""
        left = dict(self._registry.connections)
        for connection in left.values():
            connection.abort(CloseReason.SERVER_STOPPED, "server stopped")
        return [ConnectionId(id) for id in left]


async def _answered(connection: Connection, within_s: float) -> None:
    deadline = time.monotonic() + within_s
    # Polled for the few connections that are being closed; an event would have to be set after every packet of all.
    while connection.packets.busy and time.monotonic() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(ANSWERED_LOOK_S)
