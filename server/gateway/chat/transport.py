"""The `Transport` port over Socket.IO: encode once, frame once, give the same bytes to every member."""

from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

from server.domain.channels import ChannelName
from server.domain.errors import MaruError, RateLimited
from server.domain.events import LogEvent
from server.domain.identity import SessionId
from server.domain.outcomes import CloseReason
from server.domain.pushes import ChannelPush, Push
from server.domain.rings import EncodedEvent
from server.gateway.socketio import packet_frames
from server.gateway.socketio.rooms import Rooms
from server.gateway.websocket.frames import CloseCode
from server.gateway.websocket.outbox import FEW, Outbox
from server.ports.metrics import MessageMetrics
from server.ports.transport import Transport
from server.wire import messages, pushes
from server.wire.words import ServerEvent


class SocketTransport(Transport):
    """Writes to connections. `greeting` is what `session:ready` says of the server: heartbeat, limits, version;
    `now_s` is wall-clock time in seconds (`time.time`)."""

    def __init__(
        self,
        rooms: Rooms,
        outbox: Outbox,
        greeting: Mapping[str, Any],
        metrics: MessageMetrics,
        now_s: Callable[[], float],
    ) -> None:
        self._rooms = rooms
        self._outbox = outbox
        self._greeting = dict(greeting)
        self._metrics = metrics
        self._now_s = now_s
        self._unwritten: list[int] = []  # when the events of this turn were published

    def deliver(self, event: LogEvent) -> EncodedEvent:
        """Give the event to every session in its channel, and return it as it was encoded. Promises 1-4."""
        channel, encoded = event.channel, messages.encode(event)
        members = self._rooms.audience(channel)
        if members:
            frame = packet_frames.encoded_event(encoded.name, encoded.json)
            if len(members) <= FEW:
                self._outbox.write_few(members, frame)
            else:
                self._outbox.write_all(channel, frame, partial(self._rooms.audience, channel))
            if not self._unwritten:
                self._outbox.when_settled(self._written)
            self._unwritten.append(event.at)
        return encoded

    def tell(self, channel: ChannelName, push: ChannelPush, skip: Collection[SessionId] = ()) -> None:
        """Give something that is in no log to every session in the channel, except those in `skip`. Promises 1, 2, 4,
        7."""
        if not self._rooms.has_members(channel):
            return
        name, arguments = pushes.told(push)
        frame, skipped = packet_frames.event(name, *arguments), frozenset(skip)
        if skipped:
            audience = partial(self._rooms.audience_without, channel, skipped)
            self._outbox.write_all(("ephemeral", channel, skipped), frame, audience, ephemeral=True)
        else:
            audience = partial(self._rooms.audience, channel)
            self._outbox.write_all(("ephemeral", channel), frame, audience, ephemeral=True)

    def push(self, session: SessionId, push: Push) -> None:
        """Give something to a session. Promises 1-4."""
        connection = self._rooms.connection(session)
        if connection is not None:
            name, body = pushes.push(push, self._greeting)
            connection.write(packet_frames.event(name.value, body))

    async def settled(self) -> None:
        """Wait until all that was delivered is written. Promise 6."""
        await self._outbox.settled()

    async def flushed(self, session: SessionId) -> None:
        """Wait for a session that reads slowly. Promise 5."""
        connection = self._rooms.connection(session)
        if connection is not None:
            await connection.writer.flushed()

    def terminate(self, session: SessionId, error: MaruError) -> None:
        """Say why, send DISCONNECT so that the client does not come back, let it close, close the WebSocket
        (PROTOCOL.md)."""
        connection = self._rooms.connection(session)
        if connection is not None:
            connection.write(packet_frames.event(ServerEvent.SESSION_TERMINATED.value, pushes.terminated(error)))
            connection.write(packet_frames.DISCONNECTED)
            code = CloseCode.POLICY_VIOLATION if isinstance(error, RateLimited) else CloseCode.NORMAL
            connection.part(code, CloseReason.TERMINATED, f"terminated: {error.code}")

    def _written(self) -> None:
        now, published = self._now_s(), self._unwritten
        self._unwritten = []
        for at in published:
            self._metrics.published_to_written(now - at / 1_000)
