"""python-socketio's server with Maru's manners: admit before deliver, refuse with a code, leave nobody behind."""

from collections.abc import Sequence
from functools import partial
from typing import Any, Protocol

import socketio

from server.domain.errors import Internal, MaruError, Unavailable, UnknownNamespace
from server.domain.outcomes import CloseReason
from server.gateway.socketio import packets
from server.gateway.socketio.engine import Engine
from server.gateway.socketio.packets import ChatPacket
from server.gateway.websocket.connection import Connection
from server.gateway.websocket.frames import CloseCode, HostilePacket, frame
from server.wire import errors, words


class Door(Protocol):
    """What the server asks of the one namespace."""

    async def admit(self, auth: object) -> Any:
        """Judge a CONNECT payload; raise a `MaruError` or return a guest."""

    async def opened(self, sid: str, guest: Any) -> None:
        """The guest is a member now, and knows it."""

    def ended(self, sid: str) -> None:
        """The member is gone."""


class ChatServer(socketio.AsyncServer):
    """A Socket.IO server with one namespace. `eio` is the `Engine`, `manager` keeps the rooms.

    python-socketio dispatches; what it leaves open is closed here: nothing is kept of the handshake, a CONNECT is
    admitted before the client becomes a member of anything, a refused one ends the WebSocket, and the names of the
    library's own events reach no handler.
    """

    def __init__(self, manager: Any, **engine_options: Any) -> None:
        super().__init__(
            client_manager=manager,
            serializer=ChatPacket,
            async_handlers=False,
            namespaces=[words.NAMESPACE],
            **engine_options,
        )

    def _engineio_server_class(self) -> type[Engine]:
        return Engine

    async def _handle_connect(self, eio_sid: str, namespace: str | None, data: object) -> None:
        connection: Connection | None = self.eio.sockets.get(eio_sid)
        if connection is None or not connection.is_open():
            return
        namespace = namespace or "/"
        if self.manager.sid_from_eio_sid(eio_sid, namespace) is not None:
            raise HostilePacket("CONNECT twice")
        self.eio.registry.connected(connection)
        try:
            door = self._door(namespace)
            guest = await door.admit(data)
        except MaruError as error:
            await self._refuse(connection, namespace, error)
            return
        if not connection.is_open():
            return
        connection.user = guest.identity.user
        sid = connection.member = self.manager.admit(eio_sid, namespace)
        connection.write(packets.connected(sid))
        await door.opened(sid, guest)

    def _door(self, namespace: str) -> Door:
        if namespace != words.NAMESPACE:
            raise UnknownNamespace(f"this server has one namespace, {words.NAMESPACE}")
        door: Door = self.namespace_handlers[namespace]
        return door

    async def _refuse(self, connection: Connection, namespace: str, error: MaruError) -> None:
        refusal = ChatPacket(packets.CONNECT_ERROR, errors.connect_error(error), namespace)
        await self._send_packet(connection.sid, refusal)
        if self.manager.sid_from_eio_sid(connection.sid, words.NAMESPACE) is None:
            code = CloseCode.INTERNAL_ERROR if isinstance(error, Internal) else CloseCode.POLICY_VIOLATION
            connection.close(code, CloseReason.REFUSED, f"CONNECT refused: {error.code}")

    async def _handle_eio_message(self, eio_sid: str, data: str) -> None:
        """Dispatch a client's packet. An ACK is ignored: the server asks for none. Other types can't be read."""
        kind, namespace, id, payload = packets.read(data)
        if kind == packets.EVENT:
            await self._handle_event(eio_sid, namespace, id, payload)
        elif kind == packets.CONNECT:
            await self._handle_connect(eio_sid, namespace, payload)
        elif kind == packets.DISCONNECT:
            await self._handle_disconnect(eio_sid, namespace, self.reason.CLIENT_DISCONNECT)

    async def _handle_event(self, eio_sid: str, namespace: str | None, id: int | None, data: list[Any]) -> None:
        sid = self.manager.sid_from_eio_sid(eio_sid, namespace or "/")
        if sid is None:
            raise HostilePacket("event before CONNECT")
        connection: Connection | None = self.eio.sockets.get(eio_sid)
        answer = await self._answer(connection, sid, data)
        if id is not None and connection is not None:
            # No await that waits between a use case's last step and this write: see `Subscriptions`.
            connection.write(packets.ack(id, answer))

    async def _answer(self, connection: Connection | None, sid: str, data: list[Any]) -> dict[str, Any]:
        """Have a command done. Where the log or the broker is away, what waits behind it is answered likewise, and at
        once: each would only wait for the same, and what is sent again comes in its order."""
        namespace = self.namespace_handlers[words.NAMESPACE]
        if connection is not None and connection.take_doom():
            put_off: dict[str, Any] = namespace.put_off(data[0], sid)
            return put_off
        answer: dict[str, Any] = await namespace.trigger_event(data[0], sid, *data[1:])
        if connection is not None and not answer["ok"] and answer["error"]["code"] == Unavailable.code:
            connection.doom_waiting()
        return answer

    def whisper(self, room: str, event: str, arguments: Sequence[Any]) -> None:
        """Give everybody in a room an event that is in no log: who does not keep up with the log's goes without."""
        packet = ChatPacket(packets.EVENT, [event, *arguments], words.NAMESPACE).encode()
        self.eio.outbox.write_all(
            ("whisper", room),
            frame(b"4" + packet.encode()),
            partial(self.manager.audience, words.NAMESPACE, room),
            True,
        )

    async def _handle_disconnect(self, eio_sid: str, namespace: str | None, reason: str | None = None) -> None:
        """A client sent DISCONNECT."""
        self._end_membership(eio_sid, namespace or "/")
        connection: Connection | None = self.eio.sockets.get(eio_sid)
        if connection is not None:
            connection.close(CloseCode.NORMAL, CloseReason.CLIENT_LEFT, "client left")

    def _end_membership(self, eio_sid: str, namespace: str) -> None:
        sid = self.manager.sid_from_eio_sid(eio_sid, namespace)
        if sid is not None:
            try:
                self.namespace_handlers[words.NAMESPACE].ended(sid)
            finally:
                self.manager.basic_disconnect(sid, words.NAMESPACE)

    async def _handle_eio_connect(self, eio_sid: str, environ: object) -> None:
        """Keep nothing of the handshake."""

    def _handle_eio_disconnect(self, eio_sid: str, reason: str) -> None:
        """A client's connection is gone: without a task, since thousands may go at once."""
        self._end_membership(eio_sid, words.NAMESPACE)
