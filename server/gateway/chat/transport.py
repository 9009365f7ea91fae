"""The `Transport` port over Socket.IO: encode once, frame once, give the same bytes to every member."""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any, Protocol, cast

import orjson

from server.domain.channels import ChannelName
from server.domain.errors import MaruError
from server.domain.events import Event
from server.domain.identity import SessionId
from server.domain.outcomes import CloseReason
from server.domain.pushes import Push
from server.gateway.websocket.connection import Connection
from server.gateway.websocket.frames import CloseCode, frame
from server.gateway.websocket.outbox import Outbox, Writable
from server.ports.metrics import Metrics
from server.ports.transport import Transport
from server.wire import messages, pushes
from server.wire.words import NAMESPACE, ServerEvent

_EVENT = b"42" + NAMESPACE.encode() + b","
"""An Engine.IO message (4) with a Socket.IO EVENT (2) of the namespace."""

_DISCONNECT = frame(b"41" + NAMESPACE.encode() + b",")


class Membership(Protocol):
    """What the transport needs of the client manager."""

    def members(self, namespace: str, room: str) -> Mapping[str, str]:
        """The room's members, `sid -> eio_sid`."""

    def audience(self, namespace: str, room: str) -> Sequence[Writable]:
        """The connections of the room's members."""

    def joined(self, sid: str) -> Collection[str]:
        """The client's rooms."""

    def eio_sid_from_sid(self, sid: str, namespace: str) -> str | None:
        """The client's connection."""

    def basic_enter_room(self, sid: str, namespace: str, room: str) -> None:
        """Add a client to a room."""

    def basic_leave_room(self, sid: str, namespace: str, room: str) -> None:
        """Take a client out of a room."""


class SocketTransport(Transport):
    """Writes to connections. `greeting` is what `session:ready` says of the server: heartbeat, limits, version;
    `now_ms` is wall-clock time in milliseconds, as an event's `at` is."""

    def __init__(
        self,
        connections: Mapping[str, Connection],
        outbox: Outbox,
        membership: Membership,
        greeting: Mapping[str, Any],
        metrics: Metrics,
        now_ms: Callable[[], int],
    ) -> None:
        self._connections = connections
        self._outbox = outbox
        self._membership = membership
        self._greeting = dict(greeting)
        self._metrics = metrics
        self._now_ms = now_ms
        self._unwritten: list[int] = []  # when the events of this turn were published

    def deliver(self, event: Event) -> None:
        """Give the event to every session in its channel. Promises 1-4."""
        members = self._membership.members(NAMESPACE, event.channel)
        if members:
            self._outbox.write_all(
                event.channel,
                _encode(*messages.log_event(event)),
                partial(self._membership.audience, NAMESPACE, event.channel),
            )
            if not self._unwritten:
                self._outbox.when_settled(self._written)
            self._unwritten.append(event.at)

    async def settled(self) -> None:
        """Wait until all that was delivered is written. Promise 6."""
        await self._outbox.settled()

    def push(self, session: SessionId, push: Push) -> None:
        """Give something to one session. Promises 1-4."""
        connection = self._connection(session)
        if connection is not None:
            connection.write(_encode(*pushes.push(push, self._greeting)))

    async def flushed(self, session: SessionId) -> None:
        """Wait for a session that reads slowly. Promise 5."""
        connection = self._connection(session)
        if connection is not None:
            await connection.flushed()

    def enter(self, session: SessionId, channel: ChannelName) -> None:
        """Make the session a member of the channel."""
        self._outbox.end_batch()
        self._membership.basic_enter_room(session, NAMESPACE, channel)

    def leave(self, session: SessionId, channel: ChannelName) -> None:
        """End the session's membership of the channel."""
        self._outbox.end_batch()
        self._membership.basic_leave_room(session, NAMESPACE, channel)

    def channels(self, session: SessionId) -> Collection[ChannelName]:
        """The channels that the session is in."""
        return cast(Collection[ChannelName], self._membership.joined(session))

    def members(self, channel: ChannelName) -> Collection[SessionId]:
        """The sessions that are in the channel: a copy, since what is done to them may change it."""
        return cast(Collection[SessionId], tuple(self._membership.members(NAMESPACE, channel)))

    def terminate(self, session: SessionId, error: MaruError) -> None:
        """Say why, send DISCONNECT so that the client does not come back, close the WebSocket (PROTOCOL.md)."""
        connection = self._connection(session)
        if connection is None:
            return
        for channel in list(self.channels(session)):
            self.leave(session, channel)
        connection.write(_encode(ServerEvent.SESSION_TERMINATED, pushes.terminated(error)))
        connection.write(_DISCONNECT)
        connection.close(CloseCode.NORMAL, CloseReason.TERMINATED, f"terminated: {error.code}")

    def _written(self) -> None:
        now, published = self._now_ms(), self._unwritten
        self._unwritten = []
        for at in published:
            self._metrics.published_to_written((now - at) / 1_000)

    def _connection(self, session: SessionId) -> Connection | None:
        eio_sid = self._membership.eio_sid_from_sid(session, NAMESPACE)
        return None if eio_sid is None else self._connections.get(eio_sid)


def _encode(name: ServerEvent, body: dict[str, Any]) -> bytes:
    return frame(_EVENT + orjson.dumps([name.value, body]))
