"""Who comes to the public port: a whole handshake becomes a WebSocket at once, everything else is aiohttp's.

aiohttp gives each connection a request handler, and each request an object, a task and a walk through the routes: half
of what a handshake costs, and in a storm of clients all of it is for handshakes. So the first read is looked at here.
What is not plainly a WebSocket's beginning (another path, a request in pieces, one that is to be refused) goes on to
aiohttp as if nobody had looked, and meets the same judgement there.

Of thousands who come in one turn of the event loop, a few are looked at, and the rest stand in line.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol, cast

import structlog
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpProcessingError, HttpRequestParser, RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD

SILENT_S = 15.0
"""How long a connection may say nothing at all, as among aiohttp's (`api.listener.KEEPALIVE_S`)."""

ARRIVALS_PER_TURN = 32
"""First reads looked at in one go, some 5 ms; what these clients say next comes in such portions, too."""

_log = structlog.get_logger("maru.connection")

_BEGINNING = b"GET /socket.io/?"
_END = b"\r\n\r\n"
_READ_LIMIT = 1 << 16  # of a body, which no request has that is looked at here


class Entrance(Protocol):
    """What is asked of the engine."""

    def arrive(self, transport: asyncio.Transport, request: RawRequestMessage, tail: bytes) -> bool:
        """Take the transport over, or answer and close it; False: the request is for aiohttp to answer."""


class Arrivals:
    """The line at the threshold, in the order of the first reads. `ordinary` makes aiohttp's protocol."""

    def __init__(self, entrance: Entrance, ordinary: Callable[[], asyncio.Protocol]) -> None:
        self._entrance = entrance
        self._ordinary = ordinary
        self._loop = asyncio.get_running_loop()
        self._parser_protocol = BaseProtocol(self._loop)
        self._line: deque[Threshold] = deque()

    def come(self) -> "Threshold":
        """Make the first protocol of a connection."""
        return Threshold(self)

    def queue(self, threshold: "Threshold") -> None:
        """Look at a connection's first read soon."""
        if not self._line:
            self._loop.call_soon(self._turn)
        self._line.append(threshold)

    def _turn(self) -> None:
        for _ in range(min(len(self._line), ARRIVALS_PER_TURN)):
            threshold = self._line[0]
            try:
                self._look(threshold)
            except Exception as error:  # noqa: BLE001  # a fault of ours with one of them must not leave the line standing
                _log.error("arrival.failed", exc_info=error)
                threshold.transport.abort()
            self._line.popleft()  # now, so that nobody schedules this once more
        if self._line:
            self._loop.call_soon(self._turn)

    def _look(self, threshold: "Threshold") -> None:
        transport, data = threshold.transport, threshold.read
        if transport.is_closing():
            return
        request = self._request(data)
        if request is not None and self._entrance.arrive(transport, *request):
            return
        ordinary = self._ordinary()
        ordinary.connection_made(transport)
        transport.set_protocol(ordinary)
        if not transport.is_reading():
            transport.resume_reading()
        ordinary.data_received(data)

    def _request(self, data: bytes) -> tuple[RawRequestMessage, bytes] | None:
        """The request that a read holds whole, if it asks for an upgrade on the Socket.IO path, and what follows it."""
        end = data.find(_END) + len(_END)
        if end < len(_END) or not data.startswith(_BEGINNING):
            return None
        parser = HttpRequestParser(self._parser_protocol, self._loop, _READ_LIMIT)
        try:
            messages, upgraded, _ = parser.feed_data(data[:end])
        except HttpProcessingError:
            return None
        if not upgraded or len(messages) != 1 or messages[0][1] is not EMPTY_PAYLOAD:
            return None
        return messages[0][0], data[end:]


class Threshold(asyncio.Protocol):
    """A connection until its first read has been looked at: `read`, and what came behind it."""

    __slots__ = ("_arrivals", "_timer", "read", "transport")

    def __init__(self, arrivals: Arrivals) -> None:
        self._arrivals = arrivals
        self.read = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the first read, and not for ever."""
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass
        self._timer = asyncio.get_running_loop().call_later(SILENT_S, self.transport.abort)

    def data_received(self, data: bytes) -> None:
        """Stand in line. Who goes on talking there is not listened to until it is their turn."""
        if self.read:
            self.read += data
            self.transport.pause_reading()
            return
        self._timer.cancel()
        self.read = data
        self._arrivals.queue(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone before anything came of it."""
        self._timer.cancel()
