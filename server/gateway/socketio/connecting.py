"""CONNECT and DISCONNECT: admit a client, open its session, and answer; end the session when the client leaves it.

In its ordinary form a CONNECT waits for nothing: it is handled as it is read, without a task. The answer and
`session:ready` are then a single write.

A WebSocket outlives a refusal and a session by `CONNECT_WAIT_S`. Some libraries whose WebSocket ends after a refusal
come back at once, and for ever; others share a WebSocket between namespaces, of which this server refuses all but one.
"""

import time

import structlog

from server.application.limits.limiter import OTHER
from server.application.sessions.session import Session
from server.domain.errors import MaruError, RateLimited, UnknownNamespace
from server.domain.identity import SessionId
from server.domain.outcomes import CloseReason
from server.domain.presence import Departure
from server.gateway.socketio import packet_frames, packets
from server.gateway.socketio.engine import Engine
from server.gateway.socketio.gate import RateGate
from server.gateway.socketio.namespace import Admitted, Namespace
from server.gateway.socketio.rooms import Rooms
from server.gateway.websocket import verdict
from server.gateway.websocket.connection import Connection
from server.gateway.websocket.frames import CloseCode, HostilePacket
from server.wire import errors
from server.wire.words import NAMESPACE

MAX_REFUSALS = 5
"""CONNECTs of a WebSocket that are refused, until it is closed."""

MAX_LATE_EVENTS = 64
"""Events of a WebSocket that are ignored because its session was refused or is over, and other packets that come
without a session. Some libraries do not wait for the answer to their CONNECT."""

_log = structlog.get_logger("maru.connection")


class Connecting:
    """Admits clients, and lets them leave. Nothing else is written to a connection before its client is admitted."""

    def __init__(self, engine: Engine, rooms: Rooms, namespace: Namespace) -> None:
        self._engine = engine
        self._rooms = rooms
        self._namespace = namespace
        self._gate = RateGate(namespace)

    def connect_at_once(self, connection: Connection, packet: str) -> bool:
        """Handle a CONNECT that waits for nothing, and return True. Return False, and do nothing, with every other
        packet: `connect` is for those that are a CONNECT. The connection must have no session."""
        auth = packets.read_connect(packet)
        if auth is None or not connection.is_open():
            return False
        try:
            _check_pace(connection)
            admitted = self._namespace.admit_at_once(auth)
        except MaruError as error:
            self._refuse(connection, NAMESPACE, error)
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
            raise HostilePacket("CONNECT twice")  # as socket.io's own server, which closes the WebSocket, too
        self._engine.registry.connected(connection)
        try:
            if namespace != NAMESPACE:
                raise UnknownNamespace(f"this server has one namespace, {NAMESPACE}")
            _check_pace(connection)
            admitted = await self._namespace.admit(auth)
        except MaruError as error:
            self._refuse(connection, namespace, error)
            return
        if connection.is_open():
            await self._namespace.resume(self._open(connection, admitted), admitted)

    def leave(self, connection: Connection) -> None:
        """End the session of a client that has sent DISCONNECT; the client may send another CONNECT."""
        session, connection.session = connection.session, None
        if session is None:
            return
        connection.former, connection.verdict = session, verdict.LEFT
        # A client that moves has a new session already, whose entering may be on its way.
        self.end(session, Departure.LOST if session.moves else Departure.LEFT)
        if self._engine.closing:
            connection.close(CloseCode.NORMAL, CloseReason.CLIENT_LEFT, "client left")
        else:
            self._engine.registry.await_connect(connection)

    def check_late(self, connection: Connection) -> None:
        """Ignore an event of a client without a session if it was sent for one. Raises `HostilePacket` if not."""
        if connection.verdict is verdict.NO_CONNECT:
            raise HostilePacket("event before CONNECT")
        self.count_late(connection)

    @staticmethod
    def count_late(connection: Connection) -> None:
        """Ignore a packet, if it is one of a few of a client without a session. Raises `HostilePacket` if not."""
        if connection.session is None:
            connection.late_events += 1
            if connection.late_events > MAX_LATE_EVENTS:
                raise HostilePacket("event before CONNECT")

    def end(self, session: Session, departure: Departure) -> None:
        """End a session, without a task, since thousands may end at once."""
        try:
            self._namespace.ended(session, departure)
        finally:
            self._rooms.forget(session.id)

    def _open(self, connection: Connection, admitted: Admitted) -> Session:
        session = self._namespace.open(SessionId(self._engine.generate_id()), admitted)
        if (former := connection.former) is not None:  # the line of the connection's end will name the last one only
            _log.info("session.replaced", connection=connection.id, session=former.id, user=former.identity.user)
            session.follow(former)
        connection.session = session
        connection.gate = self._gate
        self._rooms.admit(session.id, connection)
        connection.write(packet_frames.connected(session.id))
        connection.reader.room_again(connection)  # during a resume, too: else nobody sees that the client hangs up
        return session

    def _refuse(self, connection: Connection, namespace: str, error: MaruError) -> None:
        """Answer a CONNECT that is refused, and wait for another, if the client has no session."""
        connection.write(packet_frames.refused(namespace, errors.connect_error(error)))
        connection.refusals += 1
        given = verdict.refused(error)
        if connection.session is None:
            connection.verdict = given
        if connection.refusals >= MAX_REFUSALS:
            self._engine.registry.connected(connection)
            connection.part(*given)
        elif connection.session is None and self._engine.closing:
            connection.close(CloseCode.SERVICE_RESTART, CloseReason.DRAINING, "server restarts")
        elif connection.session is None:
            self._engine.registry.await_connect(connection)


def _check_pace(connection: Connection) -> None:
    """Count a further CONNECT as a command of the session that the client has left. Raises `RateLimited`."""
    former = connection.former
    if former is not None and former.allowance is not None:
        shortage = former.allowance.take(OTHER, time.monotonic())
        if shortage is not None:
            raise RateLimited.by(shortage.bucket, shortage.wait, f"too many CONNECTs; the limit is {shortage.bucket}")
