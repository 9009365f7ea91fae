"""Connections over real sockets, under the gateway's transport and without a server: a test reads the other ends."""

import asyncio
import socket
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from loadtest.frames import Frames
from server.domain.channels import ChannelName
from server.domain.identity import SessionId
from server.domain.outcomes import CloseReason
from server.gateway.chat.transport import SocketTransport
from server.gateway.socketio.rooms import Rooms
from server.gateway.websocket.connection import Connection
from server.gateway.websocket.events import ConnectionEvents
from server.gateway.websocket.inbox import Inbox
from server.gateway.websocket.outbox import Outbox
from server.ports.metrics import SILENT, Metrics, Traffic

SEND_BUFFER = 16 * 1024
"""About the bytes that the kernel takes for a client that does not read: a slow client is congested soon."""

READ = 16 * 1024
DEADLINE_S = 10.0


class QuietEvents(ConnectionEvents[Connection]):
    """The events of connections whose packets nobody handles."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._ended = asyncio.Semaphore(0)

    async def all_ended(self, count: int) -> None:
        """Wait until a number of connections have ended."""
        async with asyncio.timeout(DEADLINE_S):
            for _ in range(count):
                await self._ended.acquire()

    def may_begin(self) -> bool:
        """Give every turn room."""
        return True

    def take_at_once(self, connection: Connection, packet: str) -> bool:
        """Leave every packet to `received`."""
        return False

    async def received(self, connection: Connection, packet: str) -> None:
        """Do nothing with it."""

    def leaving(self, connection: Connection) -> None:
        """Nothing else is to be done first."""
        connection.hang_up()

    def ended(self, connection: Connection) -> None:
        """Count it."""
        self._ended.release()

    def lost(self, connection: Connection) -> None:
        """Nothing counts on it."""

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run it."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


@dataclass(slots=True)
class Client:
    """A client's connection and the other end of its socket."""

    session: SessionId
    connection: Connection
    peer: socket.socket
    read: bytearray = field(default_factory=bytearray)

    async def take(self, size: int = READ) -> bool:
        """Read once; False at the end of the stream."""
        async with asyncio.timeout(DEADLINE_S):
            part = await asyncio.get_running_loop().sock_recv(self.peer, size)
        self.read += part
        return bool(part)

    def frames(self) -> list[tuple[int, bytes]]:
        """Return the whole frames that have been read: opcode and payload."""
        return Frames().feed(bytes(self.read))


@dataclass(slots=True)
class Wired:
    """A transport and its clients."""

    transport: SocketTransport
    outbox: Outbox
    rooms: Rooms
    traffic: Traffic
    clients: list[Client]

    def enter(self, client: Client, channel: str) -> None:
        """Make the client a member."""
        self.rooms.enter(client.session, ChannelName(channel))


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    """Open a connection over loopback; return its ends. The kernel buffers of the first end are small."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        peer = socket.socket()
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SEND_BUFFER)
        peer.connect(listener.getsockname())
        ours, _ = listener.accept()
        return ours, peer


@asynccontextmanager
async def wired(
    count: int, *, limit: int = 1 << 40, metrics: Metrics = SILENT, outbox_class: type[Outbox] = Outbox
) -> AsyncIterator[Wired]:
    """Connect a number of clients; `limit` is the outbox's, in bytes."""
    loop = asyncio.get_running_loop()
    traffic, events, inbox = Traffic(), QuietEvents(), Inbox(loop)
    outbox = outbox_class(loop, limit, traffic, metrics)
    rooms = Rooms(outbox)
    clients = []
    for number in range(count):
        ours, peer = tcp_pair()
        for end in (ours, peer):
            end.setblocking(False)
        waiting = asyncio.Protocol()
        stream, _ = await loop.create_connection(lambda waiting=waiting: waiting, sock=ours)  # type: ignore[misc]
        connection = Connection(events, f"c{number}", stream, inbox, outbox)
        stream.set_protocol(connection)
        connection.writer.start()
        rooms.admit(SessionId(connection.id), connection)
        clients.append(Client(SessionId(connection.id), connection, peer))
    transport = SocketTransport(rooms, outbox, {}, metrics, lambda: 0.0)
    try:
        yield Wired(transport, outbox, rooms, traffic, clients)
    finally:
        for client in clients:
            client.connection.abort(CloseReason.SERVER_STOPPED, "the scene ends")
        await events.all_ended(count)
        for client in clients:
            client.peer.close()
