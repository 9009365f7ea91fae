"""The Socket.IO server: python-socketio's, with dispatch of our own.

A CONNECT is admitted before the client is a member of anything, nothing is kept of the handshake, and a client's event
reaches the table of commands only, never a method by its name.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import socketio

from server.application.sessions.session import Session
from server.domain.errors import MaruError, Unavailable
from server.domain.outcomes import CloseReason
from server.domain.presence import Departure
from server.gateway.socketio import packet_frames, packets
from server.gateway.socketio.connecting import Connecting
from server.gateway.socketio.engine import Engine
from server.gateway.socketio.namespace import Namespace
from server.gateway.socketio.packets import ChatPacket
from server.gateway.socketio.rooms import Rooms
from server.gateway.websocket.connection import Connection
from server.gateway.websocket.frames import HostilePacket
from server.gateway.websocket.registry import Dispatch
from server.wire.answers import Answer, Failed
from server.wire.words import NAMESPACE, Command


class ChatServer(socketio.AsyncServer):
    """A Socket.IO server with a single namespace. Options beside `rooms` and `namespace` are the engine's."""

    eio: Engine

    def __init__(self, rooms: Rooms, namespace: Namespace, **engine_options: Any) -> None:
        super().__init__(
            client_manager=rooms,
            serializer=ChatPacket,
            async_handlers=False,
            namespaces=[NAMESPACE],
            dispatch=Dispatch(self._take, self._received, self._lose, self._end_session),
            **engine_options,
        )
        self._rooms = rooms
        self._namespace = namespace
        self._connecting = Connecting(self.eio, rooms, namespace)

    def _engineio_server_class(self) -> type[Engine]:
        return Engine

    def _take(self, connection: Connection, packet: str) -> bool:
        """Begin a `message:send`, or handle a CONNECT or a `channel:join`, without a task, if its form is ordinary."""
        session = connection.session
        if session is None:
            return self._connecting.connect_at_once(connection, packet)
        if (read := packets.read_send(packet)) is None:
            return self._join_at_once(connection, session, packet)
        if connection.packets.under_way and self._namespace.joins_under_way(session):
            return False  # the messages behind a join reach who has joined
        id, payload = read
        ack = _Ack(connection, id)
        if self._namespace.submit(session, payload, connection.packets.begin(ack), ack.reply):
            return True
        connection.packets.take_back()
        return False

    def _join_at_once(self, connection: Connection, session: Session, packet: str) -> bool:
        """Begin a join, unless an answer to a command of another kind is still to come."""
        if connection.packets.under_way and not self._namespace.joins_under_way(session):
            return False
        if (read := packets.read_join(packet)) is None:
            return False
        id, payload = read
        ack = _JoinAck(connection, id)
        connection.packets.begin(ack)
        if self._namespace.join(session, payload, ack.reply):
            return True
        connection.packets.take_back()
        return False

    async def _received(self, connection: Connection, text: str) -> None:
        """Handle a packet of a client. An ACK is ignored: the server asks for none."""
        kind, namespace, id, data = packets.read(text)
        if kind == packets.EVENT:
            await self._run(connection, namespace, id, data)
        elif kind == packets.CONNECT:
            await self._connecting.connect(connection, namespace or "/", data)
        elif kind == packets.DISCONNECT and namespace == NAMESPACE and connection.session is not None:
            self._connecting.leave(connection)
        else:  # of another namespace the client is no member
            self._connecting.count_late(connection)

    async def _run(self, connection: Connection, namespace: str | None, id: int | None, data: Sequence[Any]) -> None:
        """Run a command. If the log or the broker is away, the commands behind it that may need them are refused at
        once: each would only wait for the same, and the client sends all of them again in their order."""
        session = connection.session
        if namespace != NAMESPACE:
            raise HostilePacket("event before CONNECT")
        if session is None:
            self._connecting.check_late(connection)
            return
        reply = partial(_reply, connection, id)
        if connection.packets.skipped and self._namespace.may_skip(data[0]):
            self._namespace.refuse_skipped(session, data[0], reply)
            return
        answer = await self._namespace.run(session, data[0], data[1:], reply)
        if isinstance(answer, Failed) and _stops_others(data[0], answer.error):
            connection.packets.skip_waiting()

    def _lose(self, connection: Connection) -> None:
        """Tell of a connection that is gone, although a packet of its client may still be handled."""
        if connection.session is not None:
            self._namespace.lost(connection.session)

    def _end_session(self, connection: Connection) -> None:
        """End the session of a connection that is gone."""
        if connection.session is not None:
            silent = connection.cause is CloseReason.PING_TIMEOUT
            self._connecting.end(connection.session, Departure.SILENT if silent else Departure.LOST)


def _reply(connection: Connection, id: int | None, answer: Answer) -> None:
    """Write the ack, if the client asked for it."""
    if id is not None:
        connection.write(packet_frames.ack(id, answer))


def _stops_others(name: str, error: MaruError) -> bool:
    """Whether the commands behind a refused command are skipped: the client repeats a send, whatever the reason, and
    messages must not change places."""
    return isinstance(error, Unavailable) or (name == Command.SEND and error.retryable)


class _Ack:
    """The ack of a command in the lane."""

    __slots__ = ("_connection", "_id", "frame")

    def __init__(self, connection: Connection, id: int) -> None:
        self._connection = connection
        self._id = id
        self.frame: bytes | None = None

    def reply(self, answer: bytes | Failed) -> None:
        """Write the ack when those before it are written. If the send is to be repeated, what waits is skipped: the
        client repeats this command and the commands behind it."""
        queue = self._connection.packets
        if isinstance(answer, bytes):
            self.frame = packet_frames.encoded_ack(self._id, answer)
        else:
            self.frame = packet_frames.ack(self._id, answer)
            if _stops_others(Command.SEND, answer.error):
                queue.skip_waiting()
        queue.answer()


class _JoinAck:
    """The ack of a join in the lane. It is written in the step in which its session enters: no other is before it."""

    __slots__ = ("_connection", "_id", "frame")

    def __init__(self, connection: Connection, id: int) -> None:
        self._connection = connection
        self._id = id
        self.frame: bytes | None = None

    def reply(self, answer: Answer) -> None:
        """Write the ack. If the join is to be repeated, what waits is skipped."""
        queue = self._connection.packets
        self.frame = packet_frames.ack(self._id, answer)
        if isinstance(answer, Failed) and _stops_others(Command.JOIN, answer.error):
            queue.skip_waiting()
        queue.answer()
