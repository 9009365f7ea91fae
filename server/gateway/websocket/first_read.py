"""The first read of each connection to the public port: a complete handshake is accepted here, the rest is aiohttp's.

aiohttp gives each connection a request handler, and each request an object, a task and a walk through the routes. That
is half of a handshake's cost, and in a storm of clients nearly every request is a handshake. So the first read is
parsed here. Anything but a complete and valid handshake (another path, a request in pieces, a request that is to be
refused) is handed to aiohttp untouched, and meets the same checks there. Of the handshakes, the plainest are read by
`plain_handshake` in a few lines, and the others by aiohttp's parser.

If thousands connect at once, a few first reads are parsed in a turn of the event loop, and the rest are queued.
"""

import asyncio
from collections.abc import Callable
from typing import cast

import structlog
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpProcessingError, HttpRequestParser, RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD

from server.domain.limits import MAX_HEADER_BYTES
from server.gateway.websocket.capacity import Capacity, Place
from server.gateway.websocket.handshake import Handshake
from server.gateway.websocket.plain_handshake import read_plain
from server.gateway.websocket.refusals import Refused, full
from server.gateway.websocket.turn_queue import TurnQueue
from server.gateway.websocket.visits import Leave

SILENT_S = 15.0
"""How long a connection may send nothing at all: as long as aiohttp waits (`api.listener.KEEPALIVE_S`)."""

NO_ROOM_S = 1.0
"""The same if there is no room for the connection."""

ACCEPTS_PER_TURN = 32
"""First reads parsed in a turn of the event loop, about 5 ms. Their clients' next packets then come spread, too."""

Accept = Callable[[asyncio.Transport, Handshake, bytes], bool]
"""Takes over a transport, with the request and the bytes behind it; or answers and closes it. False: the request is to
be parsed in full, and answered by aiohttp."""

Enter = Callable[[asyncio.BaseTransport], Leave | Refused]
"""Counts a connection from its first moment; or says what to answer, without a look at its request."""


def nothing() -> None:
    """Count nothing."""


def anybody(_: asyncio.BaseTransport) -> Leave | Refused:
    """Let every connection in."""
    return nothing


_log = structlog.get_logger("maru.connection")

_BEGINNING = b"GET /socket.io/?"
_END = b"\r\n\r\n"
_READ_LIMIT = 1 << 16  # of a request's body; the requests that are accepted here have none


class HandshakeParser:
    """aiohttp's parser, for a complete upgrade request."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._protocol = BaseProtocol(loop)  # the parser asks for it, and uses it for bodies only

    def read(self, data: bytes) -> tuple[RawRequestMessage, bytes] | None:
        """Return the request and the bytes behind it, if `data` begins with a complete upgrade request."""
        end = data.find(_END) + len(_END)
        if end < len(_END) or not data.startswith(_BEGINNING):
            return None
        parser = HttpRequestParser(
            self._protocol,
            self._loop,
            _READ_LIMIT,
            max_line_size=MAX_HEADER_BYTES,
            max_field_size=MAX_HEADER_BYTES,
        )
        try:
            messages, upgraded, _ = parser.feed_data(data[:end])
        except HttpProcessingError:
            return None
        if not upgraded or len(messages) != 1 or messages[0][1] is not EMPTY_PAYLOAD:
            return None
        return messages[0][0], data[end:]


class AcceptQueue:
    """Connections whose first read is to be parsed, in the order of these reads. `capacity` bounds all of them, `enter`
    those of an address."""

    def __init__(
        self, accept: Accept, fallback: Callable[[], asyncio.Protocol], capacity: Capacity, enter: Enter = anybody
    ) -> None:
        self._accept = accept
        self._enter = enter
        self._capacity = capacity
        self._fallback = fallback  # makes aiohttp's protocol for a connection
        self._parser = HandshakeParser(asyncio.get_running_loop())
        self._queue = TurnQueue(ACCEPTS_PER_TURN, self._parse_or_abort)

    def make_protocol(self) -> "FirstRead":
        """Make the first protocol of a connection."""
        return FirstRead(self._queue, self._capacity, self._enter)

    def _parse_or_abort(self, connection: "FirstRead") -> None:
        try:
            self._parse(connection)
        except Exception as error:  # noqa: BLE001  # a fault with this connection must not reach the others
            _log.error("first_read.failed", exc_info=error)
            connection.transport.abort()
        finally:
            if connection.transport.get_protocol() is not connection:
                connection.leave()

    def _parse(self, connection: "FirstRead") -> None:
        transport, data = connection.transport, connection.data
        if transport.is_closing():
            return
        plain = read_plain(data)
        if plain is not None and self._accept(transport, *plain):
            return
        handshake = self._parser.read(data)
        if handshake is not None and self._accept(transport, *handshake):
            return
        protocol = self._fallback()
        protocol.connection_made(transport)
        transport.set_protocol(protocol)
        if not transport.is_reading():
            transport.resume_reading()
        protocol.data_received(data)


class FirstRead(asyncio.Protocol):
    """The protocol of a connection until its first read is parsed."""

    __slots__ = ("_capacity", "_enter", "_left", "_place", "_queue", "_timer", "data", "transport")

    transport: asyncio.Transport

    def __init__(self, queue: "TurnQueue[FirstRead]", capacity: Capacity, enter: Enter) -> None:
        self._queue = queue
        self._capacity = capacity
        self._enter = enter
        self._left = nothing  # to be called when the connection is gone, or has another protocol
        self._place = Place.CLOSED  # its place in the capacity
        self._timer: asyncio.TimerHandle | None = None
        self.data = b""  # the first read, and what came while it was queued

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait `SILENT_S` for the first read, if there is room for the connection."""
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass
        entered = self._enter(transport)
        if isinstance(entered, Refused):
            self.transport.write(entered.written())
            self.transport.close()
            return
        self._left = entered
        self._place = self._capacity.enter()
        if self._place is Place.CLOSED:
            self.transport.abort()
            return
        wait_s = SILENT_S if self._place is Place.CLIENT else NO_ROOM_S
        self._timer = asyncio.get_running_loop().call_later(wait_s, self.transport.abort)

    def data_received(self, data: bytes) -> None:
        """Queue the first read. If more comes before it is parsed, pause reading."""
        if self._place is not Place.CLIENT:
            self._refuse()
            return
        if self.data:
            self.data += data
            self.transport.pause_reading()
            return
        if self._timer is not None:
            self._timer.cancel()
        self.data = data
        self._queue.put(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """End the wait."""
        if self._timer is not None:
            self._timer.cancel()
        self.leave()

    def leave(self) -> None:
        """Give up the place in the capacity: the connection is gone, or has another protocol, which is counted."""
        self._left()
        self._left = nothing
        place, self._place = self._place, Place.CLOSED
        if place is not Place.CLOSED:
            self._capacity.leave(place)

    def _refuse(self) -> None:
        """Answer the request, whatever it is."""
        if not self.transport.is_closing():
            self.transport.write(full().written())
            self.transport.close()
