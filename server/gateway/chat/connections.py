"""The `Connections` port over the engine: how a drain sees the clients."""

from collections.abc import Sequence
from typing import Protocol, cast

from server.domain.identity import SessionId
from server.domain.outcomes import DrainEnd
from server.domain.pushes import SessionDraining
from server.gateway.socketio.engine import Engine
from server.ports.connections import ConnectionId, Connections
from server.ports.transport import Transport
from server.wire.words import NAMESPACE


class Membership(Protocol):
    """What is needed of the client manager."""

    def sid_from_eio_sid(self, eio_sid: str, namespace: str) -> str | None:
        """The session on a connection."""


class SocketConnections(Connections):
    """The engine's connections. A notice goes the way of all that a session is told."""

    def __init__(self, engine: Engine, membership: Membership, transport: Transport) -> None:
        self._engine = engine
        self._membership = membership
        self._transport = transport

    def shut(self) -> Sequence[ConnectionId]:
        """Let nobody in any more. Promise 1."""
        return cast(Sequence[ConnectionId], self._engine.shut())

    def notify(self, connection: ConnectionId, notice: SessionDraining) -> bool:
        """Tell a client what is to come. Promise 2."""
        session = self._membership.sid_from_eio_sid(connection, NAMESPACE)
        if session is None:
            return False
        self._transport.push(SessionId(session), notice)
        return True

    async def end(self, connection: ConnectionId, answer_s: float, close_s: float) -> DrainEnd:
        """End one connection by a close frame: never by DISCONNECT or Engine.IO's close, after which clients stay away.
        Promises 3 and 4."""
        return await self._engine.end(connection, answer_s, close_s)

    async def gone(self, within_s: float) -> bool:
        """Wait until no connection is left."""
        return await self._engine.gone(within_s)

    def abort(self) -> Sequence[ConnectionId]:
        """Cut off every connection that is left."""
        return cast(Sequence[ConnectionId], self._engine.abort())
