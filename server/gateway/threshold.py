"""Who comes to the public port: a whole handshake becomes a WebSocket at once, everything else is aiohttp's.

aiohttp gives each connection a request handler, and each request an object, a task and a walk through the routes: half
of what a handshake costs, and in a storm of clients all of it is for handshakes. So the first read is looked at here.
What is not plainly a WebSocket's beginning (another path, a request in pieces, one that is to be refused) goes on to
aiohttp as if nobody had looked, and meets the same judgement there.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol, cast

from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpProcessingError, HttpRequestParser, RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD

SILENT_S = 15.0
"""How long a connection may say nothing at all, as among aiohttp's (`api.listener.KEEPALIVE_S`)."""

_BEGINNING = b"GET /socket.io/?"
_END = b"\r\n\r\n"
_READ_LIMIT = 1 << 16  # of a body, which no request has that is looked at here


class Entrance(Protocol):
    """What is asked of the engine."""

    def arrive(self, transport: asyncio.Transport, request: RawRequestMessage, tail: bytes) -> bool:
        """Take the transport over, or answer and close it; False: the request is for aiohttp to answer."""


class Threshold(asyncio.Protocol):
    """A connection until its first read. `ordinary` makes aiohttp's protocol for a connection."""

    __slots__ = ("_entrance", "_ordinary", "_timer", "_transport")

    def __init__(self, entrance: Entrance, ordinary: Callable[[], asyncio.Protocol]) -> None:
        self._entrance = entrance
        self._ordinary = ordinary

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the first read, and not for ever."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass
        self._timer = asyncio.get_running_loop().call_later(SILENT_S, self._transport.abort)

    def data_received(self, data: bytes) -> None:
        """Open a WebSocket, or let aiohttp look."""
        self._timer.cancel()
        request = read(data)
        if request is not None and self._entrance.arrive(self._transport, *request):
            return
        ordinary = self._ordinary()
        ordinary.connection_made(self._transport)
        self._transport.set_protocol(ordinary)
        ordinary.data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing was said."""
        self._timer.cancel()


def read(data: bytes) -> tuple[RawRequestMessage, bytes] | None:
    """The request that a read holds whole, if it asks for an upgrade on the Socket.IO path, and what follows it."""
    end = data.find(_END) + len(_END)
    if end < len(_END) or not data.startswith(_BEGINNING):
        return None
    parser = HttpRequestParser(BaseProtocol(asyncio.get_running_loop()), asyncio.get_running_loop(), _READ_LIMIT)
    try:
        messages, upgraded, _ = parser.feed_data(data[:end])
    except HttpProcessingError:
        return None
    if not upgraded or len(messages) != 1 or messages[0][1] is not EMPTY_PAYLOAD:
        return None
    return messages[0][0], data[end:]
