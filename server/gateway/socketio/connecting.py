"""CONNECT: admit a client, open its session, and answer.

In its ordinary form a CONNECT waits for nothing: it is handled as it is read, without a task. The answer and
`session:ready` are then a single write.
"""

from server.application.sessions.sessions import Session
from server.domain.errors import Internal, MaruError, UnknownNamespace
from server.domain.identity import SessionId
from server.domain.outcomes import CloseReason
from server.gateway.socketio import packets
from server.gateway.socketio.engine import Engine
from server.gateway.socketio.namespace import Admitted, Namespace
from server.gateway.socketio.rooms import Rooms
from server.gateway.websocket.connection import Connection
from server.gateway.websocket.frames import CloseCode, HostilePacket
from server.wire import errors
from server.wire.words import NAMESPACE


class Connecting:
    """Admits clients. Nothing else is written to a connection before its client is admitted."""

    def __init__(self, engine: Engine, rooms: Rooms, namespace: Namespace) -> None:
        self._engine = engine
        self._rooms = rooms
        self._namespace = namespace

    def connect_at_once(self, connection: Connection, packet: str) -> bool:
        """Handle a CONNECT that waits for nothing, and return True. Return False, and do nothing, with every other
        packet: `connect` is for those that are a CONNECT. The connection must have no session."""
        auth = packets.read_connect(packet)
        if auth is None or not connection.is_open():
            return False
        try:
            admitted = self._namespace.admit_at_once(auth)
        except MaruError as error:
            self._engine.registry.connected(connection)
            _refuse(connection, NAMESPACE, error)
            return True
        if admitted is None:
            return False
        self._engine.registry.connected(connection)
        self._namespace.ready(self._open(connection, admitted))
        return True

    async def connect(self, connection: Connection, namespace: str, auth: object) -> None:
        """Handle any CONNECT. Raises `HostilePacket`."""
        if not connection.is_open():
            return
        if namespace == NAMESPACE and connection.session is not None:
            raise HostilePacket("CONNECT twice")
        self._engine.registry.connected(connection)
        try:
            if namespace != NAMESPACE:
                raise UnknownNamespace(f"this server has one namespace, {NAMESPACE}")
            admitted = await self._namespace.admit(auth)
        except MaruError as error:
            _refuse(connection, namespace, error)
            return
        if connection.is_open():
            await self._namespace.resume(self._open(connection, admitted), admitted)

    def _open(self, connection: Connection, admitted: Admitted) -> Session:
        session = self._namespace.open(SessionId(self._engine.generate_id()), admitted)
        connection.session = session
        self._rooms.admit(session.id, connection)
        connection.write(packets.connected(session.id))
        return session


def _refuse(connection: Connection, namespace: str, error: MaruError) -> None:
    connection.write(packets.refused(namespace, errors.connect_error(error)))
    if connection.session is None:
        code = CloseCode.INTERNAL_ERROR if isinstance(error, Internal) else CloseCode.POLICY_VIOLATION
        connection.close(code, CloseReason.REFUSED, f"CONNECT refused: {error.code}")
