"""Connections over real sockets, with the gateway's transport above them and no server: what arrives can be read."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Collection, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from server.domain.channels import ChannelName
from server.domain.identity import SessionId
from server.domain.outcomes import CloseReason
from server.gateway.chat.transport import SocketTransport
from server.gateway.websocket.connection import Connection, Inbox
from server.gateway.websocket.outbox import Outbox
from server.ports.metrics import SILENT, Metrics, Traffic

SEND_BUFFER = 16 * 1024
"""Bytes that the kernel takes for a client that does not read, about: a slow one is congested soon."""

READ = 16 * 1024
DEADLINE_S = 10.0


class QuietHost:
    """A host for connections whose packets nobody handles."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._ended = asyncio.Semaphore(0)

    async def all_ended(self, count: int) -> None:
        """Wait until so many connections have ended."""
        async with asyncio.timeout(DEADLINE_S):
            for _ in range(count):
                await self._ended.acquire()

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

    def failed(self, connection: Connection, error: Exception) -> None:
        """Be loud: no packet is handled, so none can fail."""
        raise error

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run it."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class Seats:
    """Who is in which channel: the transport's `Membership`."""

    def __init__(self, connections: Mapping[str, Connection]) -> None:
        self.rooms: dict[str, dict[str, str]] = {}
        self._connections = connections

    def members(self, namespace: str, room: str) -> Mapping[str, str]:
        return self.rooms.get(room, {})

    def audience(self, namespace: str, room: str) -> list[Connection]:
        return [self._connections[sid] for sid in self.members(namespace, room)]

    def joined(self, sid: str) -> Collection[str]:
        return [room for room, members in self.rooms.items() if sid in members]

    def eio_sid_from_sid(self, sid: str, namespace: str) -> str | None:
        return sid

    def basic_enter_room(self, sid: str, namespace: str, room: str) -> None:
        self.rooms.setdefault(room, {})[sid] = sid

    def basic_leave_room(self, sid: str, namespace: str, room: str) -> None:
        self.rooms.get(room, {}).pop(sid, None)


@dataclass(slots=True)
class Client:
    """One client's connection and the other end of its socket."""

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
        """The whole frames that have been read: opcode and payload (RFC 6455, section 5.2)."""
        found, at = [], 0
        while at + 2 <= len(self.read):
            size, head = self.read[at + 1] & 0x7F, 2
            if size >= 126:
                head = 4 if size == 126 else 10
                if at + head > len(self.read):
                    break
                (size,) = struct.unpack_from("!H" if size == 126 else "!Q", self.read, at + 2)
            if at + head + size > len(self.read):
                break
            found.append((self.read[at] & 0x0F, bytes(self.read[at + head : at + head + size])))
            at += head + size
        return found


@dataclass(slots=True)
class Wired:
    """A transport and its clients."""

    transport: SocketTransport
    outbox: Outbox
    seats: Seats
    traffic: Traffic
    clients: list[Client]

    def enter(self, client: Client, channel: str) -> None:
        """Make the client a member."""
        self.transport.enter(client.session, ChannelName(channel))


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    """Two ends of a connection over loopback; the first one's kernel buffers are small."""
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
    """So many clients, connected; `limit` is the outbox's, in bytes."""
    loop = asyncio.get_running_loop()
    traffic, host, inbox = Traffic(), QuietHost(), Inbox(loop)
    outbox = outbox_class(loop, limit, traffic, metrics)
    connections: dict[str, Connection] = {}
    seats = Seats(connections)
    clients = []
    for number in range(count):
        ours, peer = tcp_pair()
        for end in (ours, peer):
            end.setblocking(False)
        waiting = asyncio.Protocol()
        stream, _ = await loop.create_connection(lambda waiting=waiting: waiting, sock=ours)  # type: ignore[misc]
        connection = Connection(host, f"c{number}", stream, inbox, outbox, None)
        stream.set_protocol(connection)
        connection.start()
        connections[connection.sid] = connection
        clients.append(Client(SessionId(connection.sid), connection, peer))
    transport = SocketTransport(connections, outbox, seats, {}, metrics, lambda: 0)
    try:
        yield Wired(transport, outbox, seats, traffic, clients)
    finally:
        for client in clients:
            client.connection.abort(CloseReason.SERVER_STOPPED, "the scene ends")
        await host.all_ended(count)
        for client in clients:
            client.peer.close()
